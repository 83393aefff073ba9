"""`bollard profile …`: the map of a device, before it is in a site file. Connects to nothing."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from drivers.profile import Point
    from edge.profile_draft import ProfileDraft
    from edge.texts import Texts

app = typer.Typer(
    help="The profile of a device: begin one, check it, print its register sheet.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
KINDS = ("charger", "meter", "battery", "lock")
LangOption = Annotated[str, typer.Option(help="fr or en; else the terminal's.")]


@app.command()
def new(
    out: Annotated[Path | None, typer.Option(help="The file, as in my-meter.toml; else it is printed.")] = None,
    kind: Annotated[str, typer.Option(help="charger, meter, battery or lock.")] = "",
    model: Annotated[str, typer.Option(help="Maker and model.")] = "",
    source: Annotated[str, typer.Option(help="The document with its revision and pages.")] = "",
    point: Annotated[
        list[str] | None,
        typer.Option(help="NAME=ADDRESS,TYPE\\[,KEY=VALUE…], or NAME=NODE,TYPE of OPC UA; may be repeated."),
    ] = None,
    table: Annotated[str, typer.Option(help="holding, input, coil or discrete.")] = "holding",
    like: Annotated[str, typer.Option(help="Begin with this profile instead.")] = "",
    swap: Annotated[str, typer.Option(help="With --like: words, bytes or both are swapped.")] = "",
    shift: Annotated[int, typer.Option(help="With --like: all addresses are moved by so many.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    lang: LangOption = "",
) -> None:
    """Write a commented profile that loads. On a terminal it asks for what the options leave open."""
    from drivers.errors import ProfileError
    from drivers.profile import load_profile, parse_profile
    from drivers.profile_toml import as_toml
    from edge.cli import fail
    from edge.profile_draft import PointDraft, ProfileDraft, changed_profile, labelled, parse_point, profile_text
    from edge.texts import texts_for

    try:
        texts = texts_for(lang)
        if like:
            text = as_toml(changed_profile(load_profile(like), like, swap, shift))
            text = f"# {texts('profile_new.like', like=like)}\n{text}"
        else:
            keys = [parse_point(one) for one in point or []]
            protocol = "opcua" if any("node" in one for one in keys) else "modbus"
            draft = ProfileDraft(kind, model, source, protocol, table)
            draft.points = [PointDraft(one) for one in keys]
            _complete(draft, texts)
            known = points_of(draft.kind)
            draft.points = [PointDraft(labelled(one.keys, known), one.note) for one in draft.points]
            text = profile_text(draft, str(out or "FILE.toml"), texts)
        parse_profile(text, str(out or "--point"))
        write_profile(text, out, force, texts)
    except (ProfileError, ValueError) as error:
        raise fail(str(error), 2) from error


def write_profile(text: str, out: Path | None, force: bool, texts: "Texts") -> None:
    """To its file, or to stdout. Raises: ValueError."""
    if out is None:
        print(text, end="")
        return
    if out.suffix != ".toml":
        raise ValueError(texts("profile_new.suffix", path=out))
    if out.exists() and not force:
        raise ValueError(texts("site_new.exists", path=out))
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ValueError(texts("site_new.not_written", path=out, why=error.strerror)) from error
    print(texts("profile_new.written", path=out))


def points_of(kind: str) -> "list[Point]":
    """All points of the shipped profiles of a kind."""
    from drivers.profile import load_profile, shipped_profiles

    profiles = [load_profile(name) for name in shipped_profiles()]
    return [point for profile in profiles if profile.kind == kind for point in profile.points]


def _complete(draft: "ProfileDraft", texts: "Texts") -> None:
    """Ask for what is missing. Raises: ValueError, where nobody is there to be asked."""
    from edge.profile_draft import POINT_EXAMPLE, PointDraft, parse_point
    from edge.site_cli import asked

    if not sys.stdin.isatty():
        missing = [f"--{key}" for key in ("kind", "model", "source") if not getattr(draft, key)]
        missing += [] if draft.points else [f"--point {POINT_EXAMPLE}"]
        if missing:
            raise ValueError(texts("site_new.missing", missing=", ".join(missing)))
        return
    for key in ("kind", "model", "source"):
        while not getattr(draft, key) or (key == "kind" and draft.kind not in KINDS):
            setattr(draft, key, typer.prompt(texts(f"profile_new.ask_{key}")))
    begun = bool(draft.points)
    while not begun and (keys := asked(texts("profile_new.ask_point", example=POINT_EXAMPLE), parse_point)):
        draft.points.append(PointDraft(keys))


@app.command()
def check(
    file: Annotated[list[Path], typer.Argument(help="Profiles: files *.toml.", show_default=False)],
    strict: Annotated[bool, typer.Option("--strict", help="End with 1 where there are warnings.")] = False,
    lang: LangOption = "",
) -> None:
    """Say everything that is wrong with a profile, by line; then what ought to be looked at.

    Ends with 2 where something is wrong.
    """
    from edge.cli import fail
    from edge.profile_lint import check as lint
    from edge.profile_lint import warnings
    from edge.texts import texts_for

    try:
        texts = texts_for(lang)
    except ValueError as error:
        raise fail(str(error), 2) from error
    wrong = warned = False
    for path in file:
        profile, problems = lint(path)
        for problem in problems:
            print(problem, file=sys.stderr)
        wrong |= bool(problems)
        if profile is None:
            continue
        for warning in warnings(profile):
            print(f"{path}: {texts(f'lint.{warning.key}', **warning.values)}")
            warned = True
        print(texts("lint.right", path=path, model=profile.model, points=len(profile.points)))
    if wrong:
        raise typer.Exit(2)
    if warned and strict:
        raise typer.Exit(1)


@app.command()
def doc(
    name: Annotated[str, typer.Argument(help="A shipped profile, or a file *.toml.", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="A file: .html, or .md; else Markdown is printed.")] = None,
    lang: LangOption = "",
) -> None:
    """Print the register sheet of a profile: where each point is, how it is encoded, what it may be."""
    from drivers.errors import ProfileError
    from drivers.profile import load_profile
    from edge.cli import fail
    from edge.profile_sheet import html, markdown
    from edge.texts import texts_for

    try:
        texts = texts_for(lang)
        profile = load_profile(name)
        if out is not None and out.suffix not in (".html", ".md"):
            raise ValueError(texts("registers.suffix", path=out))
        text = html(profile, texts) if out is not None and out.suffix == ".html" else markdown(profile, texts)
        if out is None:
            print(text, end="")
            return
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise fail(texts("site_new.not_written", path=out, why=error.strerror), 2) from error
    except (ProfileError, ValueError) as error:
        raise fail(str(error), 2) from error
    print(out)


@app.command()
def schema(out: Annotated[Path | None, typer.Option(help="A file to write it to.")] = None) -> None:
    """Print the JSON Schema of a profile, by which an editor completes and checks while one writes."""
    from drivers.profile import Profile
    from edge.site_cli import write_schema

    write_schema(Profile, "bollard device profile", out)


def main() -> None:
    app()


if __name__ == "__main__":
    main()
