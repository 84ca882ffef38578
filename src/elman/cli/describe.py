"""`elman describe`: what a run is."""

from elman.cli.common import AsJson, RunFolder, print_json, results

NAME = "describe"
EXAMPLES = """[b]Examples[/b]

elman describe runs/load

elman describe runs/load --json"""


def command(run: RunFolder, json: AsJson = False) -> None:
    """The model, what runs it and why, its settings and its size."""
    from rich.table import Table

    from elman.run import Run

    values = Run(run).describe()
    if json:
        print_json(values)
        return
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in values.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {one}" for key, one in value.items() if one not in (None, [], {}))
        if isinstance(value, list):
            value = "\n".join("; ".join(str(part) for part in layer.values()) for layer in value)
        table.add_row(name, str(value))
    results().print(table)
