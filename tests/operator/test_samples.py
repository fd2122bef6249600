"""The samples are accepted by the API server and by the operator."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from lightkube import Client
from stage import DRAGONFLY

from everfly.operator.resources import Around, desired
from everfly.operator.resources.owner import Owner
from everfly.operator.wishes.spec import read_spec

SAMPLES = Path(__file__).resolve().parents[2] / "deploy" / "kubernetes" / "samples"


def dragonflies() -> list[Any]:
    documents = [
        each
        for file in sorted(SAMPLES.glob("*.yaml"))
        for each in yaml.safe_load_all(file.read_text())
    ]
    return [each for each in documents if each["kind"] == "Dragonfly"]


@pytest.mark.parametrize("sample", dragonflies(), ids=lambda each: each["metadata"]["name"])
def test_a_sample_is_kept_as_it_is_and_can_be_carried_out(client: Client, sample: Any) -> None:
    spec = client.create(DRAGONFLY.from_dict(sample)).to_dict()["spec"]
    assert spec == {"imagePullPolicy": "Always", "networkPolicyEnabled": True, **sample["spec"]}
    assert desired(read_spec(spec), Owner(sample["metadata"]["name"], "any", "uid"), Around())
