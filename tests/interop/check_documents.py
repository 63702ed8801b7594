"""Checks documents with the ecosystems' own validators, without the network.

    check_documents.py KIND FILE...

KIND is croissant (mlcroissant), cyclonedx (the schema that cyclonedx-python-lib carries), spdx (the bindings that SPDX
generates from its SHACL model) or model-card (huggingface_hub). Prints one line for each file, and what the validators
warn of; ends with 1 when one is refused.
"""

import io
import json
import logging
import socket
import sys
from collections import Counter


def no_network(*_args, **_kwargs):
    raise OSError("a validator asked for the network")


def croissant(path):
    import mlcroissant

    dataset = mlcroissant.Dataset(jsonld=path)
    metadata = dataset.metadata
    assert metadata.ctx.conforms_to.value == "http://mlcommons.org/croissant/1.1", metadata.ctx.conforms_to
    assert not metadata.ctx.issues.errors, metadata.ctx.issues.errors
    with open(path, encoding="utf-8") as file:
        document = json.load(file)
    rows = document["recordSet"][0]["data"]
    records = list(dataset.records(record_set="images"))
    assert len(records) == len(rows), (len(records), len(rows))
    for record, row in zip(records, rows):
        for key, value in row.items():
            found = record[key].decode() if isinstance(record[key], bytes) else record[key]
            assert found == value, (key, found, value)
    # What the vocabulary of responsible AI says arrives as its own fields.
    assert metadata.data_collection and metadata.data_use_cases, "no RAI properties were read"
    return f"{len(records)} records", sorted(metadata.ctx.issues.warnings)


def cyclonedx(path):
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    with open(path, encoding="utf-8") as file:
        text = file.read()
    error = JsonStrictValidator(SchemaVersion.V1_7).validate_str(text)
    assert error is None, error
    bom = json.loads(text)
    refs = {bom["metadata"]["component"]["bom-ref"], *(c["bom-ref"] for c in bom.get("components", []))}
    for edge in bom["dependencies"]:
        assert {edge["ref"], *edge.get("dependsOn", [])} <= refs, edge
    return f"{len(refs)} components", []


def spdx(path):
    from spdx_python_model import v3_0_1 as model

    objects = model.SHACLObjectSet()
    with open(path, "rb") as file:
        model.JSONLDDeserializer().read(file, objects)
    # An id that no element has would stay a string.
    missing = objects.link()
    assert not missing, f"no element has these ids: {missing}"
    # Writing checks what reading lets pass: that no property which must be there is missing.
    model.JSONLDSerializer().write(objects, io.BytesIO())
    kinds = Counter(type(element).__name__ for element in objects.objects)
    assert kinds["SpdxDocument"] == 1, kinds
    return ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())), []


def model_card(path):
    from huggingface_hub import ModelCard

    card = ModelCard.load(path)
    data = card.data.to_dict()
    assert data["pipeline_tag"] == "text-to-image" and "lora" in data["tags"], data
    # Read, written and read again it says the same.
    assert ModelCard(str(card)).data.to_dict() == data
    return json.dumps(data, ensure_ascii=False, sort_keys=True), []


KINDS = {"croissant": croissant, "cyclonedx": cyclonedx, "spdx": spdx, "model-card": model_card}


def main():
    kind, *paths = sys.argv[1:]
    logging.disable()  # what mlcroissant warns of is printed from its list
    socket.socket.connect = no_network
    socket.getaddrinfo = no_network
    refused = 0
    for path in paths:
        try:
            says, more = KINDS[kind](path)
        except Exception as error:  # whatever a validator raises is its verdict
            print(f"{path}: refused: {type(error).__name__}: {error}")
            refused += 1
            continue
        print(f"{path}: valid {kind}: {says}")
        for line in more:
            print(f"{path}: warning: {line}")
    sys.exit(1 if refused else 0)


if __name__ == "__main__":
    main()
