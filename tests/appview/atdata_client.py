"""The real atdata client against a node, by hand: it needs a Python with `atdata` installed.

python -m tests.appview.atdata_client PYTHON

PYTHON is that interpreter (atdata asks for 3.12 and many packages, so that it is none of ours). A
node with the fixtures' records is served, the client in that interpreter calls it, and any call
that fails, or that the client answers by itself because the node's answer was of no use to it, is
an error.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from atdex_appview.store.base import Put
from tests.appview.index import ALICE, Index, label, lens
from tests.support.expected import ATDATA

CLIENT = """
import sys, warnings
warnings.simplefilter("ignore")
from atdata.atmosphere.client import Atmosphere
from atdata.atmosphere.labels import LabelLoader
from atdata.atmosphere.lens import LensLoader
from atdata.atmosphere.records import DatasetLoader
from atdata.atmosphere.schema import SchemaLoader
from atdata.search import AppViewSearchBackend
import atdata.atmosphere as atmosphere

url, did, schema, view, entry, blobs = sys.argv[1:]
client = Atmosphere(appview=url)
client._client = None  # any way around the node ends here
datasets, schemas = DatasetLoader(client), SchemaLoader(client)
lenses, labels, search = LensLoader(client), LabelLoader(client), AppViewSearchBackend(client)

found = datasets.get(entry)
assert found["uri"] == entry and found["$type"].endswith(".entry"), found
assert datasets.get_typed(entry).schema_ref == schema
assert datasets.get_storage_type(entry) == "http"
assert datasets.get_urls(entry)
assert {each["uri"] for each in datasets.list_all(repo=did)} >= {entry, blobs}
assert len(datasets.list_all(repo=did, limit=1)) == 1
assert all("getBlob" in each for each in datasets.get_blob_urls(blobs))
record = schemas.resolve("alice.test", found_name := schemas.list_all(repo=did)[-1]["name"])
assert record["name"] == found_name and record["uri"]
assert schemas.resolve(did, found_name, record["version"])["uri"] == record["uri"]
assert [each["name"] for each in lenses.list_all(repo=did)] == ["narrow"]
assert lenses.find_by_schemas(schema, view)[0]["name"] == "narrow"
assert lenses.find_by_schemas(view, schema) == []
assert labels.resolve("alice.test", "first") == entry
assert labels.resolve(did, "first", "1.0.0") == entry
assert search.health_check()
hits = search.search(text=found["name"], limit=10)
assert entry in [each.uri for each in hits.items], hits
assert search.search(tags=found.get("tags"), schema_ref=schema, repo=did).items
print("every call was answered by the node")
"""


def main(python: str) -> int:
    with tempfile.TemporaryDirectory() as folder, Index.open(Path(folder)) as index:
        records = {
            name: json.loads((ATDATA / f"{name}.json").read_text())
            for name in ("schema", "schema_view", "entry_http", "entry_blobs")
        }
        puts: dict[str, Put] = {}
        for name, each in records.items():
            value = json.loads(
                json.dumps(each["value"]).replace(
                    records["schema"]["uri"],
                    puts["schema"].uri if "schema" in puts else "",
                )
            )
            puts[name] = index.put(ALICE, value)
            index.commit(ALICE, puts[name])
        schema, view, entry, blobs = (puts[name].uri for name in records)
        index.publish(ALICE, lens("narrow", schema, view))
        index.publish(ALICE, replace(label("first", entry, "1.0.0"), description="x"))
        with index.serve() as node:
            argv = [python, "-W", "error::UserWarning", "-c", CLIENT]
            return subprocess.run(
                [*argv, node.url, ALICE, schema, view, entry, blobs], timeout=120
            ).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
