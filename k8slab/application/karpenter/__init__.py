"""Karpenter as a loop: batches of pods get nodes of types narrowed pod by pod, and nodes that cost too much go."""
