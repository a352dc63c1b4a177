"""Everything about `tinyalbert convert` but TensorFlow: the variables come from .npz files here.
Reading real checkpoints, and loading the result in Hugging Face, is in tests/reference."""

from __future__ import annotations

import io
import json
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path

import google_checkpoints as google
import numpy as np
import pytest
from google_checkpoints import Checkpoint, write_albert_files, write_bert_files
from scipy.special import log_softmax

import tinyalbert.convert
from tinyalbert import AlbertForPreTraining, BertForPreTraining
from tinyalbert.convert import WRITTEN, convert_checkpoint
from tinyalbert.errors import InputError
from tinyalbert.weights import open_tensors

ALBERTS = {"groups": google.albert(groups=2), "inner groups": google.albert(groups=2, inner=2),
           "E = H": google.albert(width=6), "plain": google.albert()}


@pytest.fixture(autouse=True)
def variables_from_npz(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tinyalbert.convert, "read_variables",
                        lambda prefix: dict(np.load(f"{prefix}.npz")))


def write(folder: Path, checkpoint: Checkpoint, name: str = "model.ckpt-best") -> Path:
    """A released model's folder."""
    family = "albert" if "embedding_size" in checkpoint.config else "bert"
    {"albert": write_albert_files, "bert": write_bert_files}[family](folder, checkpoint.config)
    (folder / f"{name}.index").touch()
    np.savez(folder / f"{name}.npz", **checkpoint.variables)
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write(tmp_path / "albert_tiny", ALBERTS["plain"])


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def refused(source: Path, out: Path, **options: bool) -> str:
    """The sentence; nothing may have been written."""
    before = sorted(out.iterdir()) if out.is_dir() else None
    with pytest.raises(InputError) as caught:
        convert_checkpoint(source, out, **options)
    assert (sorted(out.iterdir()) if out.is_dir() else None) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- tensors


@pytest.mark.parametrize("kind", ALBERTS)
def test_every_tensor_of_an_albert(kind, tmp_path, out):
    checkpoint = ALBERTS[kind]
    converted = convert_checkpoint(write(tmp_path / "a", checkpoint), out)
    assert_equal_tensors(out, checkpoint)
    assert converted.architecture == "AlbertForPreTraining"
    assert converted.num_parameters == sum(t.size for t in checkpoint.tensors.values())
    assert [("identity" in note) for note in converted.notes] == [True] * (kind == "E = H")


def test_every_tensor_of_a_bert(tmp_path, out):
    checkpoint = google.bert()
    converted = convert_checkpoint(write(tmp_path / "uncased_L-4", checkpoint), out)
    assert_equal_tensors(out, checkpoint)
    assert converted.architecture == "BertForPreTraining" and not converted.notes


def assert_equal_tensors(out: Path, checkpoint: Checkpoint) -> None:
    found = open_tensors(out)
    assert set(found) == set(checkpoint.tensors)
    for name, expected in checkpoint.tensors.items():
        np.testing.assert_array_equal(found[name], expected, err_msg=name, strict=True)


@pytest.mark.parametrize("name", ["albert_inner_groups", "albert_same_width", "bert"])
def test_the_model_computes_what_google_computed(name, tmp_path, out):
    """golden/make_google.py has run Google's own code."""
    golden = dict(np.load(Path(__file__).parent / "golden" / "google" / f"{name}.npz"))
    family = name.partition("_")[0]
    (tmp_path / f"{family}_config.json").write_text(str(golden["config"]))
    (tmp_path / "model.ckpt.index").touch()
    np.savez(tmp_path / "model.ckpt.npz", **part(golden, "variables/"))
    convert_checkpoint(tmp_path / "model.ckpt", out)
    model = {"albert": AlbertForPreTraining, "bert": BertForPreTraining}[family]
    found = model.from_pretrained(out)(**part(golden, "inputs/"))
    for logits, expected in ((found[0], "words"), (found[1], "pairs")):
        np.testing.assert_allclose(log_softmax(logits, axis=-1), golden[f"outputs/{expected}"],
                                   rtol=0, atol=1e-5)


def part(golden: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {key.removeprefix(prefix): value for key, value in golden.items()
            if key.startswith(prefix)}


def test_a_head_that_is_not_there_is_left_out(tmp_path, out):
    plain = ALBERTS["plain"]
    for gone, architecture, notes in ((("cls/seq",), "AlbertForMaskedLM", 1),
                                      (("cls/seq", "cls/pred"), "AlbertModel", 2)):
        kept = {name: v for name, v in plain.variables.items() if not name.startswith(gone)}
        source = write(tmp_path / architecture, plain._replace(variables=kept))
        converted = convert_checkpoint(source, out, overwrite=True)
        assert converted.architecture == architecture and len(converted.notes) == notes
        assert json.loads((out / "config.json").read_text())["architectures"] == [architecture]
        lost = ("sop_classifier", "predictions") if notes == 2 else ("sop_classifier",)
        assert set(open_tensors(out)) == {n for n in plain.tensors if not n.startswith(lost)}


def test_variables_of_a_fine_tuned_classifier_are_ignored_and_named(tmp_path, out):
    plain = ALBERTS["plain"]
    more = {"output_weights": np.zeros((3, 6), "f4"), "output_bias": np.zeros(3, "f4")}
    source = write(tmp_path / "a", plain._replace(variables=plain.variables | more))
    assert convert_checkpoint(source, out).ignored == ["output_bias", "output_weights"]
    assert_equal_tensors(out, plain)


# ---- configuration and tokenizer


def test_gelu_of_albert_means_the_tanh_form_and_that_of_bert_the_exact_one(tmp_path, source, out):
    convert_checkpoint(source, out)
    config = json.loads((out / "config.json").read_text())
    expected = ALBERTS["plain"].config | {"hidden_act": "gelu_new", "model_type": "albert",
                                          "layer_norm_eps": 1e-12}
    dead = google.ALBERT_DEAD
    assert {key: config.get(key) for key in expected if key not in dead} == {
        key: value for key, value in expected.items() if key not in dead}
    assert not config.keys() & dead.keys()

    bert = write(tmp_path / "cased_L-4", google.bert())
    convert_checkpoint(bert, tmp_path / "bert")
    config = json.loads((tmp_path / "bert" / "config.json").read_text())
    assert (config["hidden_act"], config["model_type"]) == ("gelu", "bert")
    assert config["hidden_size"] == 6 and not config.keys() & google.BERT_DEAD.keys()


def test_other_activations_stay_what_they_are(tmp_path, out):
    config = ALBERTS["plain"].config | {"hidden_act": "relu"}      # Google's Chinese models
    convert_checkpoint(write(tmp_path / "a", ALBERTS["plain"]._replace(config=config)), out)
    assert json.loads((out / "config.json").read_text())["hidden_act"] == "relu"


def test_the_vocabulary_comes_along(source, out):
    from tinyalbert.tokenization.albert import AlbertTokenizer
    convert_checkpoint(source, out)
    assert (out / "spiece.model").read_bytes() == (source / "30k-clean.model").read_bytes()
    assert AlbertTokenizer.from_pretrained(out).normalizer.do_lower_case
    assert {path.name for path in out.iterdir()} == set(WRITTEN) - {"vocab.txt"}


@pytest.mark.parametrize(("name", "lower"), [
    ("uncased_L-12_H-768_A-12", True), ("cased_L-24_H-1024_A-16", False),
    ("multi_cased_L-12_H-768_A-12", False), ("multilingual_L-12_H-768_A-12", True),
    ("chinese_L-12_H-768_A-12", True), ("wwm_uncased_L-24_H-1024_A-16", True)])
def test_the_name_of_a_bert_says_whether_it_is_cased(name, lower, tmp_path, out):
    convert_checkpoint(write(tmp_path / name, google.bert()), out)
    assert json.loads((out / "tokenizer_config.json").read_text())["do_lower_case"] is lower
    assert (out / "vocab.txt").read_text().split() == (
        tmp_path / name / "vocab.txt").read_text().split()


def test_the_name_of_the_folder_one_is_in(tmp_path, out, monkeypatch):
    write(tmp_path / "cased_L-4", google.bert(), "bert_model.ckpt")
    monkeypatch.chdir(tmp_path / "cased_L-4")
    convert_checkpoint("bert_model.ckpt", out)
    assert json.loads((out / "tokenizer_config.json").read_text())["do_lower_case"] is False


def test_a_name_that_does_not_say_so_needs_the_flag(tmp_path, out):
    source = write(tmp_path / "mine", google.bert())
    assert "add --cased or --uncased" in refused(source, out)
    convert_checkpoint(source, out, do_lower_case=False)
    assert json.loads((out / "tokenizer_config.json").read_text())["do_lower_case"] is False


def test_without_a_vocabulary_there_is_no_tokenizer(source, out):
    (source / "30k-clean.model").unlink()
    assert "no tokenizer was written" in convert_checkpoint(source, out).notes[0]
    assert {path.name for path in out.iterdir()} == {"config.json", "model.safetensors"}


# ---- where the checkpoint is


@pytest.mark.parametrize("suffix", ["", ".index", ".data-00000-of-00001", ".meta"])
def test_one_of_several_checkpoints(suffix, source, out):
    other = google.albert(width=6)
    np.savez(source / "model.ckpt-7.npz", **other.variables)
    (source / "model.ckpt-7.index").touch()
    assert refused(source, out).endswith("give one of them: model.ckpt-7, model.ckpt-best")
    convert_checkpoint(source / f"model.ckpt-best{suffix}", out)
    assert_equal_tensors(out, ALBERTS["plain"])


def test_a_tf_hub_module_has_its_files_in_two_folders(source, out):
    for folder, pattern in (("assets", "*30k*"), ("assets", "*.json"), ("variables", "*ckpt*")):
        (source / folder).mkdir(exist_ok=True)
        for path in source.glob(pattern):
            path.rename(source / folder / path.name)
    convert_checkpoint(source, out)
    assert_equal_tensors(out, ALBERTS["plain"])
    assert (out / "spiece.model").exists()


def as_tar(folder: Path) -> Path:
    (folder / "._model.ckpt-best.index").touch()        # as macOS makes archives
    return Path(shutil.make_archive(str(folder), "gztar", folder.parent, folder.name))


def as_zip(folder: Path) -> Path:
    return Path(shutil.make_archive(str(folder), "zip", folder.parent, folder.name))


@pytest.mark.parametrize("pack", [as_tar, as_zip])
def test_archives(pack, source, out):
    archive = pack(source)
    shutil.rmtree(source)
    convert_checkpoint(archive, out)
    assert_equal_tensors(out, ALBERTS["plain"])


def test_the_folder_inside_an_archive_says_whether_a_bert_is_cased(tmp_path, out):
    archive = as_zip(write(tmp_path / "cased_L-4", google.bert()))
    convert_checkpoint(archive.rename(tmp_path / "download.zip"), out)
    assert json.loads((out / "tokenizer_config.json").read_text())["do_lower_case"] is False


# ---- bad input


def test_missing_files(source, out, tmp_path):
    assert refused(tmp_path / "nowhere", out).startswith(f"there is no {tmp_path / 'nowhere'}: ")
    (source / "albert_config.json").rename(tmp_path / "config")
    assert "there is no albert_config.json or bert_config.json" in refused(source, out)
    (source / "model.ckpt-best.index").unlink()
    assert "holds no TensorFlow checkpoint" in refused(source, out)


def test_a_configuration_of_another_model(source, out):
    for key, value, message in (
            ("hidden_size", 8, "'bert/encoder/embedding_hidden_mapping_in/kernel' has shape "
                               "[4, 6], the configuration asks for [4, 8]"),
            ("vocab_size", 119, "the vocabulary beside"),
            ("vocab_size", 10**8, "has shape [120, 4]"),
            ("num_hidden_groups", 2, "has no variable 'bert/encoder/transformer/group_1/"),
            ("inner_group_num", 10, "has no variable 'bert/encoder/transformer/group_0/"
                                      "inner_group_1/"),
            ("hidden_size", "six", "albert_config.json: hidden_size must be"),
            ("hidden_act", "tanh", "albert_config.json: hidden_act must be one of")):
        values = ALBERTS["plain"].config | {key: value}
        (source / "albert_config.json").write_text(json.dumps(values))
        assert message in refused(source, out)
    for text in ("{", "[]", "\xff"):
        (source / "albert_config.json").write_bytes(text.encode("latin-1"))
        assert "albert_config.json" in refused(source, out)


def test_more_layers_than_the_configuration_has(tmp_path, out):
    bert = google.bert()
    source = write(tmp_path / "cased", bert._replace(config=bert.config | {"num_hidden_layers": 3}))
    assert "'bert/encoder/layer_3/attention/output/LayerNorm/beta', for which" in refused(source,
                                                                                          out)


@pytest.mark.parametrize("name", ALBERTS["plain"].variables)
def test_each_variable_must_be_there(name, tmp_path, out):
    plain = ALBERTS["plain"]
    rest = {key: value for key, value in plain.variables.items() if key != name}
    source = write(tmp_path / "a", plain._replace(variables=rest))
    assert f"has no variable {name!r}" in refused(source, out)


def test_two_configurations_or_vocabularies(source, out):
    (source / "vocab.txt").write_text("a\n")
    assert "several vocabularies" in refused(source, out)
    (source / "bert_config.json").write_text("{}")
    assert "there is more than one albert_config.json or bert_config.json" in refused(source, out)


def test_damaged_archives(source, out, tmp_path):
    archive = as_tar(source)
    content = archive.read_bytes()
    for damaged in (content[:len(content) // 2], content[:200], b"", b"not an archive" * 99):
        archive.write_bytes(damaged)
        assert "it is not a .tar.gz or .zip, or damaged" in refused(archive, out)
    zipped = as_zip(source)
    content = bytearray(zipped.read_bytes())
    content[len(content) // 2] ^= 0xff
    zipped.write_bytes(content)
    assert "it is not a .tar.gz or .zip, or damaged" in refused(zipped, out)


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/tmp/evil"])
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_archives_that_reach_out_of_their_folder(name, kind, tmp_path, out):
    archive = tmp_path / f"model.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as zipped:
            zipped.writestr(name, "x")
    else:
        with tarfile.open(archive, "w") as tar:
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    assert f"names a file outside its folder, {name!r}" in refused(archive, out)


def test_links_in_an_archive_are_not_followed(tmp_path, out):
    archive, secret = tmp_path / "model.tar", tmp_path / "secret.json"
    secret.write_text("{}")
    with tarfile.open(archive, "w") as tar:
        link = tarfile.TarInfo("albert_config.json")
        link.type, link.linkname = tarfile.SYMTYPE, str(secret)
        tar.addfile(link)
        tar.addfile(tarfile.TarInfo("model.ckpt.index"), io.BytesIO())
    assert "there is no albert_config.json" in refused(archive, out)


def test_an_archive_larger_than_there_is_room_for(source, out, monkeypatch):
    monkeypatch.setattr("tinyalbert.google_files.LARGEST_ARCHIVE", 1000)
    assert "unpacks to more than there is room for" in refused(as_tar(source), out)


def test_a_directory_in_use(source, out):
    out.mkdir()
    (out / "config.json").write_text("{}")
    (out / "vocab.txt").write_text("of another model")
    assert "is not empty: add --overwrite" in refused(source, out)
    (out / "thesis.txt").touch()
    assert "holds 'thesis.txt', which is not of a converted model" in refused(source, out,
                                                                              overwrite=True)
    (out / "thesis.txt").unlink()
    convert_checkpoint(source, out, overwrite=True)
    assert_equal_tensors(out, ALBERTS["plain"])
    assert not (out / "vocab.txt").exists()
    assert "is a file: give a directory" in refused(source, source / "albert_config.json")


def test_what_is_there_stays_there_if_the_conversion_fails(source, out):
    convert_checkpoint(source, out)
    (source / "albert_config.json").write_text(json.dumps(google.albert(groups=2).config))
    refused(source, out, overwrite=True)
    assert_equal_tensors(out, ALBERTS["plain"])


def test_without_tensorflow(source, out, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    assert refused(source, out) == ("reading Google's checkpoints needs TensorFlow: "
                                    "pip install 'tinyalbert[tensorflow]'")
