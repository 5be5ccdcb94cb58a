"""What the pages name is there: commands, their options, settings, files and views."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from catalog.tables import BY_NAME
from catalog.views import load_questions
from flows.cli import app
from flows.settings import Settings

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "catalog" / "questions" / "README.md"]
TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}
COMMANDS = typer.main.get_command(app).commands


@pytest.mark.parametrize("page", TEXTS)
def test_every_command_and_option_exists(page):
    for line in re.findall(r"(?:^|`)midime ((?:--)?[a-z]+\b[^`\n#]*)", TEXTS[page], re.MULTILINE):
        name, *words = line.split()
        if name in ("--help", "--version"):
            continue
        assert name in COMMANDS, line
        known = {option for parameter in COMMANDS[name].params for option in parameter.opts} | {"--help"}
        used = {word.split("=")[0] for word in words if re.fullmatch(r"--?[a-z][a-z-]*(=.*)?", word)}
        assert used <= known, line


@pytest.mark.parametrize("page", TEXTS)
def test_every_command_line_is_understood(page):
    """By the command's own parser, with its arguments and the values of its options."""
    for line in re.findall(r"^midime ((?!--).*)", TEXTS[page], re.MULTILINE):
        name, *words = shlex.split(line, comments=True)
        COMMANDS[name].make_context(name, words)


@pytest.mark.parametrize("page", TEXTS)
def test_every_query_is_answered(page, month_lake):
    for query in re.findall(r'midime (?:sql|export) "([^"$]+)"', TEXTS[page]):
        month_lake.query(query)


@pytest.mark.parametrize("page", TEXTS)
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", TEXTS[page]):
        assert ((ROOT / page).parent / target).exists(), target


@pytest.mark.parametrize("page", TEXTS)
def test_every_setting_exists(page):
    fields = {f"MIDIME_{name.upper()}" for name in Settings.model_fields} | {"MIDIME_EVAL"}
    assert set(re.findall(r"MIDIME_[A-Z_]+[A-Z]", TEXTS[page])) <= fields


@pytest.mark.parametrize("page", TEXTS)
def test_every_table_that_is_asked_exists(page):
    asked = set(re.findall(r"\bFROM ([a-z_]+)", TEXTS[page]))
    assert asked <= BY_NAME.keys() | load_questions().keys() | {"ducklake_snapshots"}
