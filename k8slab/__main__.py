"""Where the k8slab command starts, also as `python -m k8slab`: small, to be there for a Ctrl-C while the rest loads."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command."""
    try:
        from k8slab.cli import main as run
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted\n")
        raise SystemExit(2) from None
    run()


if __name__ == "__main__":
    main()
