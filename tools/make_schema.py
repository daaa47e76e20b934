"""Write docs/schema/*.json, one JSON Schema for each kind of message, from the types.

python tools/make_schema.py          write what has changed
python tools/make_schema.py --check  change nothing; exit 1 naming what is out of date
"""

import json
import sys
from pathlib import Path

import msgspec

from spikeline.pipeline.messages import KINDS, VERSION
from spikeline.pipeline.wire import PacketHeader

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "schema"


def schemas() -> dict[str, str]:
    """File name to text. Fields holding bytes are msgpack `bin`; JSON Schema can only call them base64."""
    types = {**KINDS, "packet_header": PacketHeader}
    files = {}
    for name, kind in types.items():
        schema = {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$id": f"spikeline/v{VERSION}/{name}.json",
            **msgspec.json.schema(kind),
        }
        files[f"{name}.json"] = json.dumps(schema, indent=2) + "\n"
    return files


def main(arguments: list[str]) -> int:
    wanted = schemas()
    found = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")}
    stale = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    if "--check" in arguments:
        for name in stale:
            print(f"docs/schema/{name}: out of date; run python tools/make_schema.py", file=sys.stderr)
        return 1 if stale else 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in stale:
        if name in wanted:
            (FOLDER / name).write_text(wanted[name], encoding="utf-8")
        else:
            (FOLDER / name).unlink()
        print(name)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
