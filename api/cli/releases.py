"""`watchnext refresh` and `watchnext releases ...`: what is served, and the way back."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli.workspace import JsonOption, Workspace, show, show_json, show_table
from data.home import Home
from data.schema import to_rfc3339

if TYPE_CHECKING:
    from recommender.refresh import RefreshPlan

app = typer.Typer(help="Releases: what is served, and the way back.", no_args_is_help=True)


def refresh(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="only tell what would be done, and whether it fits")
    ] = False,
    accept: Annotated[
        list[str] | None, typer.Option(help="publish although this gate fails; may be given several times")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Build a release from the present events and embeddings, check it, and publish it."""
    from recommender.gates import ACCEPTABLE
    from recommender.refresh import plan_refresh
    from recommender.refresh import refresh as run

    work = Workspace()
    if dry_run:
        _show_plan(plan_refresh(work.store, work.home, work.settings.recommender), json)
        return
    accepted = [gate for gate in ACCEPTABLE if gate in (accept or [])]
    if not set(accept or []) <= set(accepted):
        raise typer.BadParameter(f"--accept takes {', '.join(ACCEPTABLE)}; what other gates find cannot be served")
    report = run(work.store, work.home, work.settings.recommender, accepted)
    if json:
        show_json({"release": report.facts, "seconds": report.seconds, "resumed": report.resumed})
        return
    if report.resumed:
        typer.echo(f"continued an interrupted run: {', '.join(report.resumed)} were already done")
    counts = report.facts["counts"]
    typer.echo(
        f"release {report.release_id} is published: {counts['videos']:,} videos, {counts['embeddings']:,} embeddings,"
        f" {counts['interactions']:,} interactions of {counts['viewers']:,} viewers; {report.facts['collaborative']},"
        f" index {report.facts['index']}; {sum(report.seconds.values()):.1f} s"
    )


def _show_plan(plan: "RefreshPlan", json: bool) -> None:
    from dataclasses import asdict

    if json:
        show_json(asdict(plan) | {"lacks": plan.room.lacks})
        return
    sizes, room = plan.sizes, plan.room
    typer.echo(
        f"a refresh would learn from {sizes.events:,} events of {sizes.viewers:,} viewers ({plan.new_events:,} since"
        f" release {plan.running or 'none'}), {sizes.videos:,} videos and {sizes.embeddings:,} embeddings"
    )
    if plan.done:
        typer.echo(f"it would continue an interrupted run: {', '.join(plan.done)} are already done")
    rows = [
        (name, "done" if name in plan.done else "", None if took is None else f"{took:.1f} s")
        for name, took in plan.phases
    ]
    show_table(("phase", "", "took last time"), rows)
    typer.echo(
        f"memory: about {room.memory / 1e6:,.0f} MB, of {room.memory_there / 1e6:,.0f} MB;"
        f" disk: about {room.disk / 1e6:,.0f} MB, of {room.disk_there / 1e6:,.0f} MB"
    )
    typer.echo(f"it would not begin: too little {room.lacks}" if room.lacks else "nothing was changed")


@app.command("list")
def list_releases(json: JsonOption = False) -> None:
    """List the releases, newest first; the served one is marked."""
    from recommender.release import Releases

    manifests = Releases(Workspace().home.releases).list()
    rows = [
        (
            "*" if each["current"] else "",
            each["id"],
            to_rfc3339(each["created_at"])[:19],
            *(
                ("damaged", "", "")
                if "damaged" in each
                else (each["counts"]["videos"], each["encoder"], each["collaborative"])
            ),
        )
        for each in manifests
    ]
    show({"items": manifests}, json, ("", "id", "created", "videos", "encoder", "collaborative"), rows)


@app.command("show")
def show_release(
    release: Annotated[str | None, typer.Argument(help="an id; none: the served one")] = None, json: JsonOption = False
) -> None:
    """Show the manifest of a release: what it was built from, its parts, sizes and checksums."""
    from recommender.release import read_manifest

    manifest = read_manifest(_folder(Workspace().home, release))
    rows = [(name, value) for name, value in manifest.items() if name not in ("files", "settings", "created_at")]
    rows += [(f"file {name}", f"{facts['bytes']:,} bytes") for name, facts in manifest["files"].items()]
    show(manifest, json, ("field", "value"), [("age_s", int(time.time() - manifest["created_at"])), *rows])


@app.command()
def verify(release: Annotated[str | None, typer.Argument(help="an id; none: the served one")] = None) -> None:
    """Compare every file of a release with its checksum."""
    from recommender.release import verify_release

    manifest = verify_release(_folder(Workspace().home, release))
    typer.echo(f"release {manifest['id']}: {len(manifest['files'])} files are as they were written")


@app.command()
def rollback(
    release: Annotated[str | None, typer.Argument(help="an id; none: the one before the served one")] = None,
) -> None:
    """Serve an older release again; running servers follow within a second."""
    from recommender.release import Releases

    typer.echo(f"release {Releases(Workspace().home.releases).rollback(release)} is served now")


@app.command()
def prune(keep: Annotated[int, typer.Option(min=1, help="newest releases to keep")] = 3) -> None:
    """Delete old releases; never the served one."""
    from recommender.release import Releases

    Releases(Workspace().home.releases).prune(keep, lambda name: typer.echo(f"deleted {name}"))


def _folder(home: Home, release: str | None) -> Path:
    from recommender.release import ReleaseError, Releases

    releases = Releases(home.releases)
    release = release or releases.current_id()
    if release is None:
        raise ReleaseError("there is no release yet; run `watchnext refresh`")
    return releases.folder(release)
