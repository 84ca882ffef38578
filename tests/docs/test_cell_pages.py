"""A page for every cell and every other encoder: what it says can be checked, and its example runs."""

import re
from pathlib import Path

import pytest

from elman.cells import CELLS
from elman.models.encoder import ENCODERS
from elman.models.model import count_parameters

DOCS = Path(__file__).parents[2] / "docs"
SECTIONS = ("Equations", "State", "Parameters", "When to use it", "Paper")


def page(folder: str, name: str) -> str:
    return (DOCS / folder / f"{name}.md").read_text(encoding="utf-8")


def examples(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def formula(text: str) -> str:
    """Side by side means times: "3 (I H + H)" is "3 * (I * H + H)"."""
    found = re.findall(r"^Parameters: `([^`]*)`", text, re.MULTILINE)
    assert len(found) == 1, f"expected one line 'Parameters: `...`', got {found}"
    assert re.fullmatch(r"[\dIH()+*/ -]*", found[0]), found[0]
    return re.sub(r"(?<=[\dIH)]) +(?=[\dIH(])", " * ", found[0])


@pytest.mark.parametrize("name", CELLS.names())
def test_a_cells_page_has_its_sections_and_the_right_number_of_parameters(name: str) -> None:
    text = page("cells", name)
    for section in SECTIONS:
        assert f"\n## {section}\n" in text, f"docs/cells/{name}.md has no section '## {section}'"
    for input_size, hidden in ((5, 8), (9, 12)):  # odd inputs: GRU-D reads values, masks and one gap
        count = eval(formula(text), {"I": input_size, "H": hidden})
        assert count == count_parameters(CELLS.get(name)(input_size, hidden)), formula(text)


@pytest.mark.parametrize("name", ENCODERS.names())
def test_an_encoder_has_a_page(name: str) -> None:
    text = page("encoders", name)
    for section in SECTIONS:
        assert f"\n## {section}\n" in text, f"docs/encoders/{name}.md has no section '## {section}'"


@pytest.mark.parametrize("folder", ["cells", "encoders"])
def test_examples_run(folder: str) -> None:
    for path in sorted((DOCS / folder).glob("*.md")):
        for example in examples(path.read_text(encoding="utf-8")):
            exec(compile(example, str(path), "exec"), {})


def test_every_page_is_linked_and_of_something() -> None:
    for folder, names in (("cells", CELLS.names()), ("encoders", ENCODERS.names())):
        index = page(folder, "README")
        for name in names:
            assert f"({name}.md)" in index, f"docs/{folder}/README.md does not link {name}.md"
        others = {path.stem for path in (DOCS / folder).glob("*.md")} - {*names, "README", "conventions", "wrappers"}
        assert not others, f"pages of nothing in docs/{folder}: {others}"
