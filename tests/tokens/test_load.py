"""A model's folder, in the forms in which models come."""

import gzip
import json

import pytest

from grove_dp.errors import ConfigurationError
from grove_dp.sim.tokenizer import DEFAULT_MODEL, ModelTokenizer
from grove_dp.tokens.load import WorkerFlags, load_model
from grove_dp.tokens.template import ChatOptions
from tests.tokens.conftest import FIXTURES

TOLD = json.loads(gzip.decompress((FIXTURES / "tokenizer" / "tokenizer.json.gz").read_bytes()))
USER = [{"role": "user", "content": "Hi"}]


def folder_with(path, config=None, told=None, **files):
    (path / "tokenizer.json").write_text(json.dumps(TOLD | (told or {})))
    if config is not None:
        (path / "tokenizer_config.json").write_text(json.dumps(config))
    for name, text in files.items():
        target = path / name.replace("__", "/")
        target.parent.mkdir(exist_ok=True)
        target.with_suffix(".jinja").write_text(text)
    return path


def rendered(path, flags=None, **options):
    return load_model(path, flags, fast=False).template.render(USER, ChatOptions(**options))


def test_the_simulated_model_is_read_as_the_simulator_reads_it():
    model, simulated = load_model(DEFAULT_MODEL), ModelTokenizer(DEFAULT_MODEL)
    text = model.template.render(USER, ChatOptions())
    assert text == simulated.chat_text(USER)
    assert model.tokenizer.ids(text).tolist() == simulated.encode(text, special=False)
    assert model.tokenizer.backend == "fastokens"


@pytest.mark.parametrize("token", ["<|im_end|>", {"content": "<|im_end|>", "lstrip": False}])
def test_a_template_of_the_config_knows_the_special_tokens(tmp_path, token):
    config = {"eos_token": token, "chat_template": "{{ messages[0].content }}{{ eos_token }}{{ bos_token }}"}
    assert rendered(folder_with(tmp_path, config)) == "Hi<|im_end|>"


def test_a_file_goes_before_the_config_and_flags_before_both(tmp_path):
    folder = folder_with(tmp_path, {"chat_template": "config"}, chat_template="file {{ a }}")
    assert rendered(folder) == "file "
    assert rendered(folder, WorkerFlags(template_defaults={"a": 1})) == "file 1"
    assert rendered(folder, WorkerFlags(chat_template="flag")) == "flag"


@pytest.mark.parametrize("in_files", [True, False])
def test_tools_may_have_their_own_template(tmp_path, in_files):
    if in_files:
        files = {"chat_template": "plain", "additional_chat_templates__tool_use": "tools"}
        folder = folder_with(tmp_path, None, None, **files)
    else:
        named = [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "tools"}]
        folder = folder_with(tmp_path, {"chat_template": named})
    tools = [{"type": "function", "function": {"name": "f"}}]
    assert rendered(folder) == "plain"
    assert rendered(folder, tools=tools) == "tools"
    flags = WorkerFlags(drop_tools_when_none=True)
    assert rendered(folder, flags, tools=tools, tool_choice="none") == "plain"


def test_a_model_without_a_template_has_none(tmp_path):
    assert load_model(folder_with(tmp_path), fast=False).template is None


@pytest.mark.parametrize(
    ("config", "ids"),
    [
        ({}, [7]),
        ({"add_bos_token": True, "bos_token": "<|im_start|>"}, [1, 7]),
        ({"add_bos_token": True}, [7]),
        ({"add_bos_token": False, "bos_token": "<|im_start|>"}, [7]),
        ({"add_eos_token": True, "eos_token": "<|im_end|>"}, [7, 2]),
        (
            {
                "add_bos_token": True,
                "bos_token": "<|im_start|>",
                "add_eos_token": True,
                "eos_token": "<|im_end|>",
            },
            [1, 7, 2],
        ),
    ],
)
def test_bos_and_eos_are_added_as_the_config_says(tmp_path, config, ids):
    tokenizer = load_model(folder_with(tmp_path, config), fast=False).tokenizer
    letter = tokenizer.ids("a").tolist()
    wanted = [letter[0] if number == 7 else number for number in ids]
    assert tokenizer.ids("a", add_special_tokens=True).tolist() == wanted
    assert tokenizer.ids("a").tolist() == letter


def test_added_tokens_that_only_the_config_has_are_added(tmp_path):
    vocabulary = TOLD["model"]["vocab"]
    decoder = {
        str(len(vocabulary)): {"content": "<|new|>", "special": True},
        "1": {"content": "<|im_start|>"},
    }
    tokenizer = load_model(folder_with(tmp_path, {"added_tokens_decoder": decoder}), fast=False).tokenizer
    assert tokenizer.ids("<|new|>").tolist() == [len(vocabulary)]
    assert "<|new|>" in tokenizer.cutters


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("tokenizer.json", None, "not found: give a model's folder"),
        ("tokenizer.json", "{", "tokenizer.json is no JSON"),
        ("tokenizer_config.json", "[]", "tokenizer_config.json holds no object"),
    ],
)
def test_a_folder_that_is_no_models_is_refused_with_its_place(tmp_path, name, text, told):
    if name != "tokenizer.json":
        folder_with(tmp_path)
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ConfigurationError, match=told) as caught:
        load_model(tmp_path)
    assert str(tmp_path) in str(caught.value)
