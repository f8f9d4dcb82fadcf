"""`watchnext demo`: everything at once on a made world, to see it work."""

from typing import Annotated

import typer

from api.cli.workspace import Workspace, show_json, show_table


def demo(
    check: Annotated[bool, typer.Option("--check", help="exit after the answer instead of staying up")] = False,
    clips: Annotated[int, typer.Option(min=32, help="how many clips to make")] = 200,
    viewers: Annotated[int, typer.Option(min=20, help="how many viewers to make")] = 500,
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="of the server; taken: any free one")] = None,
    json: Annotated[bool, typer.Option("--json", help="with --check: the figures and the answer as JSON")] = False,
) -> None:
    """Make a small world, encode it, learn, publish, serve, and ask as a front end would."""
    from api.demonstration import Scale, ask, busiest_viewer, describe, prepare, running_server
    from api.server import free_port

    work = Workspace()
    settings = work.settings

    def say(text: str) -> None:
        typer.echo(text, err=json)

    measured = prepare(settings, Scale(clips, viewers), say)
    for line in describe(measured):
        say(line)
    viewer = busiest_viewer(settings)
    wanted = settings.server.port if port is None else port
    free = free_port("127.0.0.1", wanted)
    if wanted not in (0, free):
        say(f"port {wanted} is taken; taking {free}")
    with running_server(work.home, free) as (address, process):
        answer = ask(address, viewer)
        if json:
            show_json({"measured": measured, "answer": answer})
        else:
            rows = [
                (
                    item["rank"],
                    item["title"],
                    ", ".join(item["labels"]),
                    item["reason"]["text"],
                    "+".join(item["sources"]),
                )
                for item in answer["items"]
            ]
            show_table(("", "title", "labels", "why", "found by"), rows, title=f"for {viewer}, asked over HTTP")
        if check:
            return
        typer.echo(f"\nWatchNext is up: open {address}/ in a browser. Ctrl-C stops it.")
        process.wait()
