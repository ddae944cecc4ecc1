"""The command ``backbones``: pretrained weights, listed or measured."""

from __future__ import annotations

from typing import Annotated

import typer

from headstart.cli.options import AsJson, Licence, Order
from headstart.cli.output import print_json, say


def backbones(
    search: Annotated[
        list[str] | None,
        typer.Argument(metavar="SEARCH", help="Words in the name, family, data or domain; with --measure, names."),
    ] = None,
    family: Annotated[str | None, typer.Option(help="For example vit, dinov2, or mobilenet for all of its.")] = None,
    max_params: Annotated[str | None, typer.Option(metavar="COUNT", help="At most so many: 30M, 1.5B, 500k.")] = None,
    domain: Annotated[
        str | None, typer.Option(help="What the weights have seen: natural, web, medical, satellite, documents.")
    ] = None,
    licence: Annotated[Licence, typer.Option(help="permissive leaves out every other licence.")] = Licence.any,
    offline: Annotated[bool, typer.Option("--offline", help="Only weights that are on this machine.")] = False,
    sort: Annotated[
        Order, typer.Option(help="By published top-1, multiply-accumulates, or parameters.")
    ] = Order.accuracy,
    limit: Annotated[int | None, typer.Option(min=1, help="Show so many.", show_default="25; with --json all")] = None,
    measure: Annotated[bool, typer.Option("--measure", help="Time the named backbones on this machine.")] = False,
    as_json: AsJson = False,
) -> None:
    """List pretrained backbones: what they have learnt from, how large they are, their licence, if they are here."""
    from headstart.reporting import backbone_list

    if measure:
        _measure(search or [], as_json)
        return
    wanted = backbone_list.Wanted(
        search=" ".join(search or ()),
        family=family,
        max_params=max_params,
        domain=domain,
        licence=licence.value,
        here_only=offline,
        sort=sort.value,
    )
    listing = backbone_list.find(wanted)
    if as_json:
        print_json(listing.rows(limit))
    elif wanted == backbone_list.Wanted():
        backbone_list.show_overview(listing, limit or backbone_list.SHOWN)
    else:
        backbone_list.show(listing, limit or backbone_list.SHOWN)


def _measure(names: list[str], as_json: bool) -> None:
    from headstart.errors import HeadstartError, OptionError
    from headstart.features.measuring import measure_named
    from headstart.reporting import backbone_list

    if not names:
        raise OptionError("--measure wants the names of backbones, for example: headstart backbones --measure lite0")
    speeds = []
    for name in names:  # what was measured is shown, whatever becomes of the others
        try:
            speeds.append(measure_named(name, say=say))
        except HeadstartError as error:
            say(f"headstart: {error}")
    if speeds:
        print_json(speeds) if as_json else backbone_list.show_speeds(speeds)
    if len(speeds) < len(names):
        raise typer.Exit(HeadstartError.exit_code)
