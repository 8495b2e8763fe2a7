"""Whatever is changed, removed, swapped or put in among sealed evidence is found; and what was not, is not."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.core.types import UInt8
from edge.errors import EvidenceError, UsageError
from edge.evidence.bundle import export
from edge.evidence.chain import Chain, ChainNote, Head, SharedChain, read_head
from edge.evidence.keys import SigningKey, gateway_key, parse_public_key, sealed, unsealed
from edge.evidence.pruning import Removal, record_removals, recorded_removals
from edge.evidence.reading import FolderReader
from edge.evidence.recorder import CaseRecorder
from edge.evidence.store import EvidenceStore, canonical
from edge.evidence.verify import Verdict, verify
from edge.evidence.zipped import ZipContent, ZipWriter
from edge.wiring.process_order import DATABASE
from tests.test_evidence import ORIGIN, a_case, a_change, a_frame

pytestmark = pytest.mark.delivery

CASES = 4
FLIPS = int(os.environ.get("EDGE_SEAL_EXAMPLES", "150"))  # of bytes; thousands by hand
MOVES = 40


def small(seed: int) -> UInt8:
    return np.random.default_rng(seed).integers(0, 255, (16, 24, 3), np.uint8)


def sealed_cases(root: Path, *, first: int = 1, cases: int = CASES) -> None:
    """Cases of a gateway, their alerts in turn, so that each one's manifests lie among the others' in the chain."""
    recorder = CaseRecorder(EvidenceStore(root), origin=ORIGIN, chain=SharedChain(root))
    numbers = range(first, first + cases)
    for number in numbers:
        recorder.record(a_change("opened", 60, alerts=1, number=number), a_frame(60, bgr=small(number)))
    for number in numbers[:-1]:
        recorder.record(a_change("updated", 90, alerts=2, number=number), a_frame(90, bgr=small(10 + number)))
    cleared = a_change("cleared", 120, alerts=3, number=first, reason="seen-empty")
    recorder.record(cleared, a_frame(120, bgr=small(20)))


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sealed") / "state"
    sealed_cases(root)
    assert verify(root).problems == []
    return root


@pytest.fixture
def copy(state: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(state, tmp_path / "copy"))


def proved_files(root: Path) -> list[Path]:
    """All that a change must show in: evidence, manifests, signatures, the chain's head, the public key."""
    inside = sorted(path for path in root.rglob("*") if path.is_file())
    return [path for path in inside if path.name not in ("gateway.key", "chain.lock")]


def folder_of(root: Path, number: int) -> Path:
    return root / "evidence" / a_case(0, number=number).case_id


def alter(content: bytes, how: str, at: int, value: int) -> bytes:
    if how == "flip":
        return content[:at] + bytes([content[at] ^ value]) + content[at + 1 :]
    if how == "insert":
        return content[:at] + bytes([value]) + content[at:]
    if how == "drop":
        return content[:at] + content[at + 1 :]
    return content[:at]  # cut


ALTERED = st.tuples(
    st.integers(0, 10_000), st.sampled_from(["flip", "insert", "drop", "cut"]), st.floats(0, 1), st.integers(1, 255)
)


def altered(path: Path, how: str, share: float, value: int) -> Iterator[None]:
    """While the iteration lasts, the file is another one."""
    before = path.read_bytes()
    path.write_bytes(alter(before, how, min(int(share * len(before)), len(before) - 1), value))
    try:
        yield
    finally:
        path.write_bytes(before)


def test_any_byte_changed_in_any_file_is_found(state: Path) -> None:
    """Flips, insertions, omissions and cuts at random places of random files."""
    files, hit = proved_files(state), Counter[str]()

    @settings(max_examples=FLIPS, deadline=None, derandomize=True)
    @given(where=ALTERED)
    def check(where: tuple[int, str, float, int]) -> None:
        row, how, share, value = where
        path = files[row % len(files)]
        for _ in altered(path, how, share, value):
            verdict = verify(state)
        assert not verdict.sound, f"{path.name}: {how} at {share} by {value} was not found"
        assert all("\n" not in problem and str(state) not in problem for problem in verdict.problems)
        hit[f"{how} {path.suffix}"] += 1

    check()
    assert verify(state).sound
    kinds = dict(sorted(hit.items()))
    print(f"{sum(hit.values())} changes in {len(files)} files, all found (EDGE_SEAL_EXAMPLES=4000: more): {kinds}")


def test_every_bit_of_a_manifest_of_a_signature_and_of_the_head_matters(state: Path) -> None:
    chance = random.Random(5)
    paths = [folder_of(state, 2) / "manifest-1.json", folder_of(state, 2) / "manifest-2.sig", state / "chain.json"]
    count = 0
    for path in paths:
        size = path.stat().st_size
        for at in sorted(chance.sample(range(size), min(size, 40))):
            for _ in altered(path, "flip", at / size + 1e-9, 1 << chance.randrange(8)):
                assert not verify(state).sound, f"{path.name} at {at}"
            count += 1
    print(f"{count} single bits, all found")


def test_any_file_that_is_removed_is_found(state: Path, tmp_path: Path) -> None:
    files = proved_files(state)
    for path in files:
        aside = path.rename(tmp_path / "aside")
        verdict = verify(state)
        aside.rename(path)
        assert not verdict.sound, path
    print(f"{len(files)} files, each missed")


def test_any_case_that_is_removed_is_found_and_the_newest_too(state: Path, tmp_path: Path) -> None:
    for number in range(1, CASES + 1):
        aside = folder_of(state, number).rename(tmp_path / "aside")
        verdict = verify(state)
        aside.rename(folder_of(state, number))
        assert not verdict.sound, number
    newest = SharedChainCopy(state, tmp_path / "newest")
    sealed_cases(newest.root, first=9, cases=1)
    shutil.rmtree(folder_of(newest.root, 9))
    assert verify(newest.root).problems == [
        "chain.json: the newest of 10 manifests that it names is not in its place: the newest were changed or removed"
    ]


class SharedChainCopy:
    """A state folder of our own to go on with."""

    def __init__(self, state: Path, root: Path) -> None:
        self.root = Path(shutil.copytree(state, root))


def test_all_evidence_removed_is_found(copy: Path) -> None:
    shutil.rmtree(copy / "evidence")
    assert not verify(copy).sound
    (copy / "chain.json").unlink()
    assert verify(copy).problems == ["chain.json: is missing: without it nobody can tell whether the newest cases are"]


def test_an_older_head_put_back_is_found(copy: Path) -> None:
    older = (copy / "chain.json").read_bytes()
    sealed_cases(copy, first=9, cases=1)
    (copy / "chain.json").write_bytes(older)
    verdict = verify(copy)
    assert verdict.problem_count == 2
    assert "is not counted by chain.json: it was put in, or that is older" in verdict.problems[0]


def test_a_whole_folder_put_back_to_an_older_day_is_found_with_a_head_that_was_told(copy: Path, tmp_path: Path) -> None:
    older = Path(shutil.copytree(copy, tmp_path / "older"))
    sealed_cases(copy, first=9, cases=1)
    head = read_head(copy)
    assert head is not None
    assert verify(copy, head=head.sha256).sound
    assert verify(older).sound  # nothing in it tells: this is the limit
    verdict = verify(older, head=head.sha256)
    assert "was once told as the newest manifest, and is not here" in verdict.problems[0]


def test_a_folder_dressed_up_as_an_export_does_not_pass_for_one_that_holds_the_head(copy: Path) -> None:
    head, victim = read_head(copy), folder_of(copy, 4)
    assert head is not None
    links = copy / "links"
    links.mkdir()
    for path in victim.glob("manifest-*.json"):
        name = sha256(path.read_bytes())
        shutil.copy(path, links / f"{name}.json")
        shutil.copy(path.with_suffix(".sig"), links / f"{name}.sig")
    shutil.rmtree(victim)
    for path in (copy / "chain.lock", copy / "keys" / "gateway.key"):
        path.unlink()
    verdict = verify(copy)
    assert (verdict.problems, verdict.kind) == ([], "export")  # as it says: of other cases it cannot tell
    assert verdict.notes[-1].endswith("of others it cannot tell")
    verdict = verify(copy, head=head.sha256)
    assert "cannot tell that no case is missing" in verdict.problems[0]


def test_two_files_that_are_swapped_are_found(state: Path) -> None:
    files = [path for path in proved_files(state) if path.parent.parent.name == "evidence"]
    chance, count = random.Random(3), 0
    for _ in range(MOVES):
        one, other = chance.sample(files, 2)
        a, b = one.read_bytes(), other.read_bytes()
        one.write_bytes(b)
        other.write_bytes(a)
        verdict = verify(state)
        one.write_bytes(a)
        other.write_bytes(b)
        assert not verdict.sound, (one, other)
        count += 1
    print(f"{count} pairs swapped, all found")


def test_a_manifest_moved_to_another_case_is_found(copy: Path) -> None:
    for suffix in (".json", ".sig"):
        (folder_of(copy, 1) / f"manifest-3{suffix}").rename(folder_of(copy, 2) / f"manifest-3{suffix}")
    shutil.move(folder_of(copy, 1) / "after-3.jpg", folder_of(copy, 2) / "after-3.jpg")
    assert any("belongs to case" in problem for problem in verify(copy).problems)


def test_a_manifest_renamed_within_its_case_is_found(copy: Path) -> None:
    folder = folder_of(copy, 1)
    for suffix in ("json", "sig"):
        (folder / f"manifest-3.{suffix}").rename(folder / f"manifest-77.{suffix}")
    problems = verify(copy).problems
    assert problems == [f"evidence/{folder.name}/manifest-77.json: was sealed as number 3 of its case: it was renamed"]


def test_a_manifest_that_does_not_say_its_number_still_proves_its_files(copy: Path) -> None:
    """As those of before the number was sealed."""
    key = gateway_key(copy)
    forged(copy, key, change=lambda document: document.pop("number"))
    assert verify(copy).problems == []


def test_a_case_renamed_is_found(copy: Path) -> None:
    folder_of(copy, 1).rename(folder_of(copy, 99))
    assert not verify(copy).sound


def forged(root: Path, key: SigningKey, *, change: Callable[[dict[str, object]], None]) -> None:
    """Every manifest rewritten and signed with another key, hashes and links kept right, and the head as well."""
    paths = sorted(root.glob("evidence/*/manifest-*.json"), key=lambda path: json.loads(path.read_bytes())["position"])
    new: dict[str | None, str | None] = {None: None}
    for path in paths:
        content = path.read_bytes()
        document = json.loads(content)
        change(document)
        for name in ("previous", "previous_in_case"):
            document[name] = new[document[name]]
        document["key_id"] = key.key_id
        written = canonical(document)
        path.write_bytes(written)
        path.with_suffix(".sig").write_bytes(key.sign(written))
        new[sha256(content)] = sha256(written)
    note = unsealed((root / "chain.json").read_bytes())
    assert note is not None
    unsigned = {name: value for name, value in note.items() if name not in ("key_id", "signature")}
    (root / "chain.json").write_bytes(sealed({**unsigned, "head": new[str(note["head"])]}, key))


def sha256(content: bytes) -> str:
    import hashlib

    return hashlib.sha256(content).hexdigest()


def test_all_signed_again_with_another_key_is_found(copy: Path) -> None:
    """Without the old key nothing passes; with the public half replaced as well, only the key that is named tells."""
    honest, forger = gateway_key(copy).public, SigningKey.new()
    forged(copy, forger, change=lambda document: document.update(camera="another"))
    assert not verify(copy).sound
    (copy / "keys" / "gateway.pub").write_bytes(forger.public.pem)
    verdict = verify(copy)
    assert (verdict.sound, verdict.keys_named) == (True, False)  # integrity, not origin
    verdict = verify(copy, keys=[honest])
    assert "chain.json: is not signed with the key named" in verdict.problems
    assert any("not the one named" in problem for problem in verdict.problems)


def test_one_manifest_signed_again_with_another_key_is_found(copy: Path) -> None:
    manifest = folder_of(copy, 2) / "manifest-2.json"
    manifest.with_suffix(".sig").write_bytes(SigningKey.new().sign(manifest.read_bytes()))
    assert verify(copy).problems == [
        f"evidence/{folder_of(copy, 2).name}/manifest-2.sig: is not the signature of manifest-2.json"
    ]


def test_an_earlier_key_of_the_gateway_proves_what_it_signed(copy: Path) -> None:
    keys = copy / "keys"
    (keys / "gateway.key").unlink()
    (keys / "gateway.pub").rename(keys / "2025.pub")
    sealed_cases(copy, first=9, cases=1)
    verdict = verify(copy)
    assert verdict.problems == []
    assert sorted(verdict.keys.values()) == [2, 8]
    assert "2 keys are relied on: make sure that each was this gateway's" in verdict.notes
    old_case = verify(folder_of(copy, 1))
    assert (old_case.problems, len(old_case.keys)) == ([], 1)


def shortened(root: Path, key: SigningKey) -> None:
    """The newest manifest goes and a picture of the first case, with a head and a record that `key` signs."""
    manifests = {json.loads(path.read_bytes())["position"]: path for path in root.glob("evidence/*/manifest-*.json")}
    last = manifests.pop(max(manifests))
    number = last.stem.rpartition("-")[2]
    for path in last.parent.glob(f"*-{number}*"):
        path.unlink()
    head = Head(max(manifests), sha256(manifests[max(manifests)].read_bytes()))
    (root / "chain.json").write_bytes(sealed(ChainNote(head).document(), key))
    folder = folder_of(root, 2)
    row = asdict(removal_of(root, 2, "crop-1.jpg"))
    (folder / "crop-1.jpg").unlink()
    document = {"kind": "pruned", "case_id": folder.name, "removed": [row]}
    (folder / "pruned.json").write_bytes(sealed(document, key))


def test_a_public_key_that_somebody_lays_down_makes_no_forged_note_true(copy: Path) -> None:
    forger, folder = SigningKey.new(), folder_of(copy, 2)
    (copy / "keys" / "old.pub").write_bytes(forger.public.pem)
    shortened(copy, forger)
    problems = verify(copy).problems
    assert "chain.json: is not signed with keys/gateway.pub, the gateway's present key" in problems
    assert f"evidence/{folder.name}/pruned.json: is not signed with the gateway's key" in problems
    assert f"evidence/{folder.name}/pruned.json: is not signed with the gateway's key" in verify(folder).problems
    with pytest.raises(EvidenceError, match="is not as this gateway signed it"):
        recorded_removals(copy, folder.name, gateway_key(copy))


@pytest.mark.parametrize("unpublished", [False, True])
def test_a_gateway_does_not_sign_a_head_that_its_own_key_did_not(copy: Path, unpublished: bool) -> None:
    forger = SigningKey.new()
    (copy / "keys" / "old.pub").write_bytes(forger.public.pem)
    if unpublished:
        (copy / "keys" / "gateway.pub").unlink()
    shortened(copy, forger)
    SharedChain(copy).begin()
    assert any("was lost and made anew" in problem for problem in verify(copy).problems)


def test_a_new_key_does_not_go_on_after_a_head_of_a_key_that_sealed_nothing(copy: Path) -> None:
    forger, keys = SigningKey.new(), copy / "keys"
    (keys / "gateway.key").unlink()
    (keys / "gateway.pub").rename(keys / "2025.pub")
    (keys / "old.pub").write_bytes(forger.public.pem)
    shortened(copy, forger)
    SharedChain(copy).begin()
    assert any("was lost and made anew" in problem for problem in verify(copy).problems)


def test_a_link_in_the_place_of_a_file_is_not_followed(copy: Path, tmp_path: Path) -> None:
    picture = folder_of(copy, 1) / "overview-1.jpg"
    picture.rename(tmp_path / "aside")
    picture.symlink_to(tmp_path / "aside")
    assert verify(copy).problems == [
        f"evidence/{picture.parent.name}/overview-1.jpg: cannot be read: is a link, which is not followed"
    ]


def test_a_folder_of_links_a_pipe_and_a_huge_manifest_are_problems_and_nothing_hangs(
    copy: Path, tmp_path: Path
) -> None:
    folder_of(copy, 1).rename(tmp_path / "case")
    folder_of(copy, 1).symlink_to(tmp_path / "case")
    os.mkfifo(folder_of(copy, 2) / "manifest-9.json")
    with (folder_of(copy, 3) / "manifest-9.json").open("wb") as huge:
        huge.truncate(1 << 33)  # a hole: 8 GB that no disk holds
    problems = verify(copy).problems
    assert any("does not belong here" in problem for problem in problems)
    assert any("manifest-9.json: is no file" in problem for problem in problems)
    assert any("is larger than" in problem for problem in problems)


def test_a_foreign_file_is_told_without_orders_to_the_terminal(copy: Path) -> None:
    (copy / "evidence" / "\x1b[2Jnote").touch()
    (folder_of(copy, 1) / "\x1b]0;x\x07.jpg").touch()
    problems = verify(copy).problems
    assert len(problems) == 2
    assert all(problem.isprintable() for problem in problems)


def test_evidence_that_comes_while_it_is_verified_is_no_fault(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names, done = FolderReader.names, []

    def names_and_more(reader: FolderReader, folder: str) -> list[str]:
        listed = names(reader, folder)
        if folder.startswith("evidence/") and not done:
            done.append(folder)
            recorder = CaseRecorder(EvidenceStore(copy), origin=ORIGIN, chain=SharedChain(copy))
            for number in (1, 2, 3):  # of one that is listed already, and of others that are not
                change = a_change("updated", 200 + number, alerts=4, number=number)
                recorder.record(change, a_frame(200 + number, bgr=small(number)))
        return listed

    monkeypatch.setattr(FolderReader, "names", names_and_more)
    verdict = verify(copy)
    assert verdict.problems == []
    assert verdict.notes == ["2 manifests came while this was checked"]


def test_a_manifest_in_the_place_of_one_whose_writer_was_killed_is_no_fault(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The note that is read first names what a killed camera never stored; another camera has taken its place since."""
    key, head = gateway_key(copy), read_head(copy)
    assert head is not None
    document = ChainNote(head, following=(f"evidence/{folder_of(copy, 1).name}/manifest-4.json", "0" * 64)).document()
    (copy / "chain.json").write_bytes(sealed(document, key))
    strays, done = FolderReader.strays, []

    def strays_and_more(reader: FolderReader) -> list[str]:
        if not done:
            done.append(True)
            recorder = CaseRecorder(EvidenceStore(copy), origin=ORIGIN, chain=SharedChain(copy))
            recorder.record(a_change("updated", 300, alerts=4, number=2), a_frame(300, bgr=small(2)))
        return strays(reader)

    monkeypatch.setattr(FolderReader, "strays", strays_and_more)
    verdict = verify(copy)
    assert (verdict.problems, verdict.notes) == ([], ["1 manifests came while this was checked"])


def test_only_what_was_being_written_may_stand_after_the_head(copy: Path) -> None:
    key, note_path = gateway_key(copy), copy / "chain.json"
    before = read_head(copy)
    assert before is not None
    CaseRecorder(EvidenceStore(copy), origin=ORIGIN, chain=SharedChain(copy)).record(
        a_change("updated", 300, alerts=4, number=2), a_frame(300, bgr=small(2))
    )
    after = read_head(copy)
    assert after is not None
    path = f"evidence/{folder_of(copy, 2).name}/manifest-4.json"
    for written, sound in ((str(after.sha256), True), ("0" * 64, False)):
        note_path.write_bytes(sealed(ChainNote(before, following=(path, written)).document(), key))
        verdict = verify(copy)
        assert verdict.sound == sound
        assert not sound or verdict.notes == []


# Removal on record


def removal_of(root: Path, number: int, name: str) -> Removal:
    content = (folder_of(root, number) / name).read_bytes()
    return Removal(name, sha256(content), len(content), "2026-06-03T00:00:00.000+08:00", "older than 30 days")


def test_files_removed_on_record_are_no_fault_and_no_others_are(copy: Path) -> None:
    key, folder = gateway_key(copy), folder_of(copy, 1)
    names = ["overview-1.jpg", "original-1.jpg"]
    record_removals(copy, folder.name, [removal_of(copy, 1, name) for name in names[:1]], key)
    record_removals(copy, folder.name, [removal_of(copy, 1, name) for name in names[1:]], key)
    assert verify(copy).sound  # recorded, and not deleted yet: as after a kill
    for name in names:
        (folder / name).unlink()
    verdict = verify(copy)
    assert (verdict.problems, verdict.removed) == ([], 2)
    assert sorted(recorded_removals(copy, folder.name, key)) == sorted(names)
    (folder / "crop-1.jpg").unlink()
    assert verify(copy).problems == [f"evidence/{folder.name}/crop-1.jpg: is missing"]


def test_a_record_goes_on_under_a_new_key(copy: Path) -> None:
    folder, keys = folder_of(copy, 1), copy / "keys"
    record_removals(copy, folder.name, [removal_of(copy, 1, "crop-1.jpg")], gateway_key(copy))
    (keys / "gateway.key").unlink()
    (keys / "gateway.pub").rename(keys / "2025.pub")
    SharedChain(copy).begin()
    record_removals(copy, folder.name, [removal_of(copy, 1, "overview-1.jpg")], gateway_key(copy))
    for name in ("crop-1.jpg", "overview-1.jpg"):
        (folder / name).unlink()
    verdict = verify(copy)
    assert (verdict.problems, verdict.removed) == ([], 2)


def test_a_record_of_removals_that_the_gateway_did_not_sign_counts_for_nothing(copy: Path) -> None:
    folder = folder_of(copy, 1)
    record_removals(copy, folder.name, [removal_of(copy, 1, "crop-1.jpg")], SigningKey.new())
    (folder / "crop-1.jpg").unlink()
    assert not verify(copy).sound
    with pytest.raises(EvidenceError, match=r"pruned\.json: is not as this gateway signed it"):
        recorded_removals(copy, folder.name, gateway_key(copy))


def test_a_record_of_another_case_or_file_counts_for_nothing(copy: Path) -> None:
    key, folder = gateway_key(copy), folder_of(copy, 1)
    record_removals(copy, folder_of(copy, 2).name, [removal_of(copy, 2, "crop-1.jpg")], key)
    (folder_of(copy, 2) / "pruned.json").rename(folder / "pruned.json")
    (folder / "crop-1.jpg").unlink()
    assert verify(copy).problem_count >= 2


# Export


@pytest.fixture(scope="module")
def zipped(state: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "case.zip"
    export(state, [folder_of(state, 2).name], path)
    return path


def test_an_export_verifies_on_another_machine_with_the_public_key_alone(
    state: Path, zipped: Path, tmp_path: Path
) -> None:
    moved = Path(shutil.copy(zipped, tmp_path / "moved.zip"))
    public = Path(shutil.copy(state / "keys" / "gateway.pub", tmp_path / "got-elsewhere.pub"))
    command = [sys.executable, "-m", "edge", "evidence", "verify", str(moved), "--key", str(public), "--json"]
    elsewhere = {"HOME": str(tmp_path / "empty"), "PATH": os.environ["PATH"], "EDGE_STATE": str(tmp_path / "none")}
    said = subprocess.run(command, env=elsewhere, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    document = json.loads(said.stdout)
    assert document["sound"]
    assert document["keys_named"]
    assert (document["checked"]["cases"], document["checked"]["manifests"]) == (1, 2)
    key = parse_public_key(public.read_bytes())
    assert key is not None
    assert list(document["keys"]) == [key.key_id]


def test_the_same_evidence_exports_to_the_same_bytes(state: Path, zipped: Path, tmp_path: Path) -> None:
    export(state, [folder_of(state, 2).name[:8]], tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == zipped.read_bytes()


def test_an_export_is_a_zip_that_others_open_and_its_folder_verifies_too(zipped: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(zipped) as archive:
        assert archive.testzip() is None
        assert not any(info.compress_type for info in archive.infolist())
        archive.extractall(tmp_path / "unpacked")
        names = archive.namelist()
    assert "gateway.key" not in " ".join(names)
    assert sum(name.startswith("links/") for name in names) == 8  # two manifests, each with one before and one after
    assert verify(tmp_path / "unpacked").problems == []


def test_any_byte_changed_anywhere_in_an_export_is_found(zipped: Path) -> None:
    whole = zipped.read_bytes()
    hit = Counter[str]()

    @settings(max_examples=FLIPS // 2, deadline=None, derandomize=True)
    @given(how=st.sampled_from(["flip", "insert", "drop", "cut"]), share=st.floats(0, 1), value=st.integers(1, 255))
    def check(how: str, share: float, value: int) -> None:
        for _ in altered(zipped, how, share, value):
            verdict = verify(zipped)
        assert not verdict.sound, f"{how} at {share} by {value} was not found"
        hit[how] += 1

    check()
    structure = [at for at in range(len(whole)) if whole[at : at + 2] == b"PK"]
    for at in structure:  # headers and the directory, byte by byte, where checksums of files do not reach
        for step in range(0, 46, 5):
            if at + step < len(whole):
                for _ in altered(zipped, "flip", (at + step) / len(whole) + 1e-12, 0x11):
                    assert not verify(zipped).sound, at + step
                hit["header"] += 1
    assert verify(zipped).sound
    print(f"changes in a zip of {len(whole)} bytes, all found: {dict(hit)}")


def rezipped(zipped: Path, path: Path, change: Callable[[dict[str, bytes]], None]) -> Verdict:
    """The verdict on an export that somebody has opened, changed and packed as we do."""
    content = ZipContent(zipped)
    files = {name: b"".join(content.blocks(name)) for name in content.entries}
    content.close()
    change(files)
    with ZipWriter(path) as writer:
        for name, data in files.items():
            writer.add(name, iter([data]))
    return verify(path)


def test_an_export_that_was_packed_again_is_held_to_the_same(zipped: Path, tmp_path: Path) -> None:
    sheet = next(name for name in zipfile.ZipFile(zipped).namelist() if name.endswith(".html"))

    def drop(ending: str) -> Callable[[dict[str, bytes]], None]:
        return lambda files: [files.pop(name) for name in list(files) if name.endswith(ending)] and None

    def replace(name: str, old: bytes, new: bytes) -> Callable[[dict[str, bytes]], None]:
        return lambda files: files.update({name: files[name].replace(old, new)})

    changes: dict[str, tuple[Callable[[dict[str, bytes]], None], str]] = {
        "nothing": (lambda files: None, ""),
        "sheet": (replace(sheet, b"kerb", b"curb"), "does not say what the files say"),
        "head": (drop("chain.json"), "chain.json: is missing"),
        "links": (lambda files: [files.pop(name) for name in list(files) if "links/" in name] and None, "links"),
        "key": (drop(".pub"), "name it with --key"),
        "picture": (drop("crop-1.jpg"), "crop-1.jpg: is missing"),
        "newest": (drop("manifest-2.json"), "named by no manifest"),
        "secret": (lambda files: files.update({"keys/gateway.key": b"x"}), "must not be passed on"),
        "stray": (lambda files: files.update({"evidence/note.txt": b"x"}), "does not belong here"),
        "page": (lambda files: files.update({"index.html": b"x"}), "does not belong here"),
    }
    for name, (change, word) in changes.items():
        verdict = rezipped(zipped, tmp_path / f"{name}.zip", change)
        assert verdict.sound == (not word), (name, verdict.problems)
        assert not word or any(word in problem for problem in verdict.problems), (name, verdict.problems)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "evidence/../../x", "a\\b", "x" * 300, "C:x"])
def test_a_zip_whose_names_lead_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    with ZipWriter(tmp_path / "a.zip") as writer:
        writer.add(name, iter([b"x"]))
    (problem,) = verify(tmp_path / "a.zip").problems
    assert "holds a file called" in problem or "its directory is not where" in problem


def test_a_zip_of_another_program_or_a_bomb_is_refused_before_it_unfolds(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("evidence/x/manifest-1.json", bytes(50_000_000))
    assert "is no zip of `edge evidence export`" in verify(tmp_path / "bomb.zip").problems[0]
    (tmp_path / "empty.zip").write_bytes(b"")
    (tmp_path / "end.zip").write_bytes(b"PK\x05\x06" + b"\xff" * 18)
    for name in ("empty.zip", "end.zip"):
        assert not verify(tmp_path / name).sound


def test_evidence_that_does_not_hold_is_not_exported(copy: Path, tmp_path: Path) -> None:
    picture = folder_of(copy, 2) / "overview-1.jpg"
    picture.write_bytes(picture.read_bytes()[:-1])
    with pytest.raises(EvidenceError, match=r"not exported, for it does not verify: .*its content has changed"):
        export(copy, [picture.parent.name], tmp_path / "case.zip")
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


def test_what_cannot_be_exported_is_told(state: Path, zipped: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is there already"):
        export(state, [folder_of(state, 2).name], zipped)
    for wanted in ("nonsense", "", folder_of(state, 1).name[:4]):
        with pytest.raises(UsageError, match="is no case that has evidence here"):
            export(state, [wanted], tmp_path / "a.zip")
    assert list(tmp_path.iterdir()) == []


def test_the_sheet_says_what_the_manifests_say_and_escapes_it(zipped: Path) -> None:
    with zipfile.ZipFile(zipped) as archive:
        sheet = archive.read(next(name for name in archive.namelist() if name.endswith(".html"))).decode()
    assert "<script" not in sheet
    assert "http" not in sheet.replace("http-equiv", "")
    for words in ("案件证据单", "qiaonong-03", "kerb", "2026-05-04 09:31:00.123", "GA/T 832-2014", "签名不能证明"):
        assert words in sheet
    assert sheet.count(" 24 x 16 px") >= 3  # of the pictures themselves
    assert sheet.count("<figure>") == sheet.count("data:image/jpeg;base64,") >= 5


def test_a_sheet_escapes_what_others_wrote_and_tells_whether_the_clock_was_right(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>&\"'"
    for offset, word in ((0.4, "符合 met"), (-1.7, "不符合 not met")):
        root = tmp_path / word
        origin = replace(
            ORIGIN,
            place={"camera_name": hostile, "road": hostile, "site": hostile},
            category_of=lambda scenario, zone: {"code": "0505", "name": hostile},
            clock_offset_s=lambda offset=offset: offset,
        )
        recorder = CaseRecorder(EvidenceStore(root), origin=origin, chain=SharedChain(root))
        recorder.record(a_change("opened", 60, alerts=1), a_frame(60, bgr=small(1)))
        export(root, [a_case(0).case_id], root / "case.zip")
        with zipfile.ZipFile(root / "case.zip") as archive:
            sheet = archive.read(f"case-{a_case(0).case_id}.html").decode()
        assert "<script" not in sheet
        assert sheet.count("&lt;script&gt;") == 4
        assert f'{offset:+.3f} s</td><td class="{"yes" if abs(offset) <= 1 else "no"}">{word}' in sheet


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 10**30)
    | st.text(max_size=9)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def leaves(value: object, path: tuple[object, ...] = ()) -> Iterator[tuple[object, ...]]:
    """The way to every value inside, itself among them."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from leaves(inner, (*path, key))


def test_whatever_stands_in_somebody_elses_export_is_a_verdict_and_no_traceback(tmp_path: Path) -> None:
    """Unsigned, so that what is forged is not stopped by a signature."""
    recorder = CaseRecorder(EvidenceStore(tmp_path), origin=ORIGIN, chain=(chain := Chain()))
    recorder.record(a_change("opened", 60, alerts=1), a_frame(60, bgr=small(1)))
    chain.conclude(tmp_path)
    export(tmp_path, [a_case(0).case_id], tmp_path / "case.zip")
    name, count = f"evidence/{a_case(0).case_id}/manifest-1.json", Counter[bool]()
    ways = list(leaves(json.loads((tmp_path / name).read_bytes())))
    heads = list(leaves(json.loads((tmp_path / "chain.json").read_bytes())))

    @settings(max_examples=80, deadline=None, derandomize=True)
    @given(in_head=st.booleans(), row=st.integers(0, 999), value=JSON_VALUES)
    def check(in_head: bool, row: int, value: object) -> None:
        place, all_ways = ("chain.json", heads) if in_head else (name, ways)
        *way, last = all_ways[row % len(all_ways)]

        def change(files: dict[str, bytes]) -> None:
            document = inner = json.loads(files[place])
            for key in way:
                inner = inner[key]
            inner[last] = value
            files[place] = canonical(document)

        (tmp_path / "b.zip").unlink(missing_ok=True)
        count[rezipped(tmp_path / "case.zip", tmp_path / "b.zip", change).sound] += 1

    check()
    print(f"{count[False]} forged exports not sound; {count[True]} with the value that stood there, or one as good")
    assert count[False] > 60


def test_the_same_frames_and_the_same_key_give_the_same_bytes(tmp_path: Path) -> None:
    gateway_key(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    for name in ("a", "b"):
        sealed_cases(tmp_path / name)
    inside = [
        {p.relative_to(root): p.read_bytes() for p in proved_files(root)} for root in (tmp_path / "a", tmp_path / "b")
    ]
    assert inside[0] == inside[1]
    assert len(inside[0]) > 30


def test_a_gateway_that_has_told_nothing_yet_is_known_by_its_database(tmp_path: Path) -> None:
    (tmp_path / DATABASE).touch()
    verdict = verify(tmp_path)
    assert (verdict.kind, verdict.problems) == ("state folder", [])


def test_a_folder_of_cases_is_sent_to_the_one_above(state: Path) -> None:
    with pytest.raises(UsageError, match="name the folder above it"):
        verify(state / "evidence")


def test_an_export_of_a_pruned_case_says_what_is_gone(copy: Path, tmp_path: Path) -> None:
    key, folder = gateway_key(copy), folder_of(copy, 2)
    record_removals(copy, folder.name, [removal_of(copy, 2, "overview-1.jpg")], key)
    (folder / "overview-1.jpg").unlink()
    bundle = export(copy, [folder.name], tmp_path / "case.zip")
    assert bundle.verdict.removed == 1
    with zipfile.ZipFile(tmp_path / "case.zip") as archive:
        sheet = archive.read(f"case-{folder.name}.html").decode()
    assert "older than 30 days" in sheet


def test_a_case_folder_alone_is_proved_with_a_key(copy: Path, tmp_path: Path) -> None:
    key = gateway_key(copy).public
    assert verify(folder_of(copy, 2)).sound
    alone = folder_of(copy, 2).rename(tmp_path / "for the police")
    verdict = verify(alone, keys=[key])
    assert (verdict.problems, verdict.cases, verdict.signatures) == ([], 1, 2)
    assert "name it with --key" in verify(alone).problems[0]
