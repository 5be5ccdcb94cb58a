"""The dashboard: written into a file, or served and kept fresh."""

import threading
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.console import LakeOption, check_output, notes, open_reader, out, read_settings, refuse

PORT = 8642


def dashboard(
    lake: LakeOption = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Only write the page into this HTML file.", dir_okay=False)
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where to serve it; 0 for any free port.")] = PORT,
    host: Annotated[
        str, typer.Option(help="The address to listen at; by default only this machine can ask.")
    ] = "127.0.0.1",
) -> None:
    """Show what happened: runs, speed, failures, drift and the index. Served until Ctrl-C, always fresh."""
    from catalog.dashboard.live import read_live
    from catalog.dashboard.page import build_page, name_lake
    from catalog.dashboard.server import serve_page

    settings = read_settings(lake)
    if output:
        check_output(output)
        with open_reader(settings) as connection:
            page = build_page(read_live(connection, settings.lake), name_lake(settings.lake))
        output.write_text(page, encoding="utf-8", errors="replace")
        out.print(str(output), highlight=False, markup=False, soft_wrap=True)
        if show:
            webbrowser.open(output.resolve().as_uri())
        return
    try:
        with serve_page(settings.lake, settings.catalog, port, host) as address:
            out.print(address, highlight=False)
            notes.print("Ctrl-C ends it.", style="dim")
            if show:
                webbrowser.open(address)
            threading.Event().wait()
    except OSError as error:
        refuse(f"The page cannot be served at {host}:{port}: {error.strerror}. Choose another with --port.")
    except KeyboardInterrupt:
        return
