"""Run the `hand-depth` command. Ctrl-C ends it without a traceback from the first import on."""

from hand_depth_ros.cli.interrupt import exit_on_sigint


def main() -> None:
    """Run the command line; ends the process with its exit code."""
    with exit_on_sigint():
        from hand_depth_ros.cli.main import main as run
    run()


if __name__ == "__main__":
    main()
