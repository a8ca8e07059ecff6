"""Every query and snippet of docs/ledger.md runs, on both databases, and every table is in it."""

import re
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from loop.ledger.ledger import Ledger
from loop.ledger.tables import Row
from tests.loop import ledger_rows as make

PAGE = (Path(__file__).parents[3] / "docs" / "ledger.md").read_text(encoding="utf-8")
QUERIES = re.findall(r"```sql\n(.*?)```", PAGE, flags=re.DOTALL)
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.fixture
def url(ledger_url) -> str:
    """A ledger in which every query of the page finds something."""
    key = make.crystal(0).key
    with Ledger.open(ledger_url) as ledger:
        token = ledger.acquire("c")
        ledger.append(
            make.campaign("c"),
            make.candidate("c", 0, crystal_key=key),
            make.candidate("c", 1),
            make.stored_crystal(0),
            make.calculation("k", start=0),
            make.hull("c", 1),
            make.decision("c", "0001-0000"),
            make.verification("c", "0001-0000", "k"),
            make.failure("c", "0001-0000"),
            token=token,
        )
        for number, energy in ((1, 0.1), (2, 0.2)):
            for fidelity in (make.SCREENING, make.LEVEL):
                verdict = make.verdict("c", "0001-0000", "k", energy=energy, number=number, fidelity=fidelity)
                verdict.hull_version = f"{make.SCREENING}-1"
                ledger.append(verdict, token=token)
        ledger.intend(
            "c", "cut", token=token, declared={"cpu_seconds": 4.0}, purpose="screening", iteration=1
        )
    return ledger_url


@pytest.mark.parametrize("query", QUERIES)
def test_queries_run(url, query):
    engine = create_engine(url)
    with engine.connect() as connection:
        assert connection.execute(text(query)).all()
    engine.dispose()


def test_the_first_query_shows_only_verdicts_in_force(url):
    engine = create_engine(url)
    with engine.connect() as connection:
        found = connection.execute(text(QUERIES[0])).mappings().all()
    engine.dispose()
    assert [(row["fidelity"], row["energy_above_hull"]) for row in found] == [
        (make.LEVEL, 0.2),
        (make.SCREENING, 0.2),
    ]


@pytest.mark.parametrize(("snippet", "printed"), list(zip(SNIPPETS, ["0.2", "CsCl"], strict=True)))
def test_snippets_run(url, snippet, printed, capsys):
    exec(compile(snippet, "docs/ledger.md", "exec"), {"url": url})
    assert printed in capsys.readouterr().out


def test_every_table_has_its_sentence():
    described = re.findall(r"^\| `(\w+)` \|", PAGE, flags=re.MULTILINE)
    assert sorted(described) == sorted(Row.metadata.tables)
