"""The VerticalPodAutoscaler's recommender: decaying histograms, and estimates made of them."""
