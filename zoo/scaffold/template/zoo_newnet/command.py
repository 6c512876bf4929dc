"""zoo newnet: a command to start from. What is heavy is imported inside the function, so that its help answers at once."""

import click


@click.command()
@click.argument("paths", nargs=-1, required=True)
def newnet(paths: tuple[str, ...]) -> None:
    """Print height and width of FITS images."""
    import zoo

    for path in paths:
        for frame in zoo.read_frames(path):
            click.echo(f"{path}\t{frame.shape[1]}\t{frame.shape[2]}")
