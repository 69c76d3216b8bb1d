"""The README.md of a folder of weights."""

from collections.abc import Mapping
from typing import Any

CARD = """---
library_name: transformers
---

# {title}

{parameters:,} parameters of a `{model_type}` in {dtype}, under the names that transformers gives them.

| config.json | |
| --- | --- |
{rows}

```python
from transformers import {title}

model = {title}.from_pretrained("path/of/this/folder")
```

What it was trained on, how well it does, what it should not be used for and its license are not known to the program
that wrote this page: say so here before you share it.
"""


def card(entries: Mapping[str, Any], parameters: int) -> str:
    """Return the card of a model that config.json describes by these entries: what follows from it, and no more."""
    rows = [f"| {name} | {entry} |" for name, entry in entries.items() if isinstance(entry, int | float | str)]
    (title,) = entries["architectures"]
    return CARD.format(
        title=title,
        parameters=parameters,
        model_type=entries["model_type"],
        dtype=entries["dtype"],
        rows="\n".join(rows),
    )
