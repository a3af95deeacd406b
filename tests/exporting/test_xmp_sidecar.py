"""Keywords come into a sidecar, change and go, and all else stays as it was."""

from xml.etree import ElementTree

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from taistore.exporting.set_aside import SetAsideError
from taistore.exporting.sidecars.keyword_names import keyword_of, path_of, same_as
from taistore.exporting.sidecars.tag_entries import SidecarTag
from taistore.exporting.sidecars.xml_source import MAX_BYTES, MAX_DEPTH
from taistore.exporting.sidecars.xmp_document import LISTS, XmpDocument
from taistore.exporting.sidecars.xmp_sidecar import keywords, with_tags, without_run
from tests.exporting.sidecar_texts import (
    ALL,
    DIGIKAM,
    LIGHTROOM,
    OTHER_PREFIX,
    RDF,
    RESTORED,
    with_subject,
)
from tests.faults.hostile_names import names

SUBJECT, HIERARCHY, DIGIKAM_TAGS, MICROSOFT, *_ = LISTS


def tags(*keywords: str, score: float = 0.9) -> list[SidecarTag]:
    return [SidecarTag(keyword=k, label=f"key {k}", score=f"{score:.4f}") for k in keywords]


def listed(data: bytes | None, which: object = SUBJECT) -> list[str]:
    """A list's values, by another parser than ours."""
    assert data is not None
    (name,) = (f"{{{each.uri}}}{each.local}" for each in LISTS if each is which)
    root = ElementTree.fromstring(data)
    return [item.text or "" for found in root.iter(name) for item in found.iter(f"{{{RDF}}}li")]


def written(*keywords: str, before: str | None = None, run: str = "one", under: str = "") -> bytes:
    data = None if before is None else before.encode()
    made = with_tags(data, tags(*keywords), run=run, under=under)
    assert made is not None
    return made


def test_a_new_sidecar_has_the_keywords_in_both_lists_and_goes_when_they_do() -> None:
    made = written("dog", "big cat")
    assert listed(made) == listed(made, HIERARCHY) == ["dog", "big cat"]
    assert [(e.run, e.score, e.label) for e in XmpDocument(made).entries] == [
        ("one", "0.9000", "key dog"),
        ("one", "0.9000", "key big cat"),
    ]
    assert without_run(made, run="two") == made
    assert without_run(made, run="one") is None


def test_without_a_tag_no_sidecar_is_made() -> None:
    assert with_tags(None, [], run="one") is None


@pytest.mark.parametrize("program", sorted(ALL))
def test_what_other_programs_wrote_stays(program: str) -> None:
    before = ALL[program].encode()
    made = written("dog", "cat", before=ALL[program])
    assert {"dog", "cat"} <= set(listed(made))
    assert with_tags(made, tags("dog", "cat"), run="one") == made
    # Whatever is not ours is there, in its order.
    pieces = iter(made.split(b"\n"))
    if program in RESTORED:
        assert all(any(line == piece for piece in pieces) for line in before.split(b"\n")[:-3])
        assert without_run(made, run="one") == before
    else:
        after = without_run(made, run="one")
        assert after is not None
        assert listed(after) == [each for each in listed(before) if each]


def test_a_persons_equal_keyword_is_not_ours() -> None:
    made = written("dog", "cat", before=LIGHTROOM)
    assert listed(made) == ["Anna", "dog", "cat"]
    # It is there below another: a second one at the top would be another keyword.
    assert listed(made, HIERARCHY) == ["people|Anna", "animals|dog", "cat"]
    assert {e.keyword: e.state for e in XmpDocument(made).entries} == {
        "dog": "present",
        "cat": "added",
    }
    assert keywords(made) == ["cat"]


def test_another_case_is_another_keyword_and_another_way_to_write_an_accent_is_not() -> None:
    made = written("Dog", "caf\u00e9", before=LIGHTROOM.replace("Anna", "cafe\u0301"))
    assert listed(made) == ["cafe\u0301", "dog", "Dog"]


def test_digikams_own_lists_are_added_to_as_it_would_not_look_further() -> None:
    made = written("dog", "AC/DC", before=DIGIKAM)
    assert listed(made, DIGIKAM_TAGS) == ["Places/Bonn", "dog", "AC-DC"]
    assert listed(made, MICROSOFT) == ["Places/Bonn", "dog", "AC-DC"]
    assert listed(made, HIERARCHY) == ["dog", "AC/DC"]
    assert b'rdf:about="uuid:1">\n   <dc:subject' in made
    assert not listed(written("dog", before=LIGHTROOM), DIGIKAM_TAGS)


def test_an_empty_list_of_digikams_stays_so_or_it_would_hide_the_others() -> None:
    emptied = DIGIKAM.replace("\n     <rdf:li>Places/Bonn</rdf:li>", "")
    made = written("dog", before=emptied)
    assert listed(made) == ["dog"]
    assert listed(made, DIGIKAM_TAGS) == listed(made, MICROSOFT) == []


def test_a_path_that_a_person_wrote_is_not_written_twice() -> None:
    mine = b"<rdf:li>dog</rdf:li><rdf:li>AI|dog</rdf:li>"
    first, lists, last = written("dog").partition(b"<lr:hierarchicalSubject")
    before = first + lists + last.replace(b"<rdf:li>dog</rdf:li>", mine, 1)
    made = with_tags(before, tags("dog"), run="two", under="AI")
    assert listed(made, HIERARCHY) == ["dog", "AI|dog"]


def test_a_second_export_of_a_run_brings_it_up_to_date() -> None:
    first = written("dog", "cat", before=LIGHTROOM)
    second = with_tags(first, tags("cat", "cow", score=0.4), run="one")
    assert listed(second) == ["Anna", "dog", "cat", "cow"]
    assert second is not None
    assert [(e.keyword, e.score) for e in XmpDocument(second).entries] == [
        ("cat", "0.4000"),
        ("cow", "0.4000"),
    ]
    third = with_tags(second, tags("cow", score=0.4), run="one")
    assert listed(third) == ["Anna", "dog", "cow"]


def test_runs_share_a_keyword_until_the_last_is_taken_back() -> None:
    both = with_tags(written("dog", "cat"), tags("dog", "cow"), run="two")
    assert listed(both) == ["dog", "cat", "cow"]
    assert both is not None
    second = without_run(both, run="one")
    assert listed(second) == listed(second, HIERARCHY) == ["dog", "cow"]
    assert without_run(second or b"", run="two") is None


def test_a_keyword_that_a_person_took_away_is_not_added_again() -> None:
    made = written("dog", "cat").replace(b"\n     <rdf:li>dog</rdf:li>", b"")
    assert listed(made) == ["cat"]
    again = with_tags(made, tags("dog", "cat", score=0.8), run="one")
    assert listed(again) == listed(again, HIERARCHY) == ["cat"]
    other = with_tags(again, tags("dog"), run="two")
    assert listed(other) == ["cat"]
    # Who puts it back owns it.
    back = (other or b"").replace(
        b"<rdf:li>cat</rdf:li>", b"<rdf:li>cat</rdf:li><rdf:li>dog</rdf:li>", 1
    )
    kept = with_tags(with_tags(back, tags("dog"), run="two"), tags("dog"), run="one")
    assert kept is not None
    after = without_run(without_run(kept, run="one") or b"", run="two")
    assert listed(after) == ["dog"]


def test_keywords_below_another() -> None:
    made = written("dog", "a|b", under="AI")
    assert listed(made) == ["dog", "a|b"]
    assert listed(made, HIERARCHY) == ["AI|dog", "AI|a-b"]
    moved = with_tags(made, tags("dog", "a|b"), run="one", under="")
    assert listed(moved, HIERARCHY) == ["dog", "a-b"]
    assert without_run(moved or b"", run="one") is None


def test_a_file_that_another_program_wrote_into_stays() -> None:
    made = written("dog").replace(b"</rdf:Description>", b"</rdf:Description>\n  <!-- mine -->")
    after = without_run(made, run="one")
    assert after is not None
    assert b"<!-- mine -->" in after
    assert not listed(after)


COMPACT = with_subject(
    "<t:tags><rdf:Bag>"
    '<rdf:li t:keyword="dog" t:run="one" t:score="0.5" t:state="added"/>'
    '<rdf:li><rdf:Description t:keyword="cat" t:run="one" t:state="added"/></rdf:li>'
    '<rdf:li t:keyword="no state" t:run="one"/>'
    "</rdf:Bag></t:tags><dc:subject><rdf:Seq><rdf:li>dog</rdf:li>"
    '<rdf:li rdf:parseType="Resource"><rdf:value>cat</rdf:value></rdf:li>'
    "<rdf:li>mine</rdf:li></rdf:Seq></dc:subject>",
    inside='xmlns:t="urn:taistore:xmp:1.0/"',
)


def test_our_entries_are_read_in_every_form_that_other_programs_write_them() -> None:
    after = without_run(COMPACT.encode(), run="one")
    assert listed(after) == ["mine"]
    assert b"taistore" not in (after or b"").replace(b"urn:taistore:xmp:1.0/", b"", 1)


UTF_16 = f'<?xml version="1.0" encoding="UTF-16"?>\n{LIGHTROOM}'


@pytest.mark.parametrize("mark", ["utf-16-le", "utf-16-be"])
def test_utf_16_stays_utf_16(mark: str) -> None:
    before = f"\ufeff{UTF_16}".encode(mark)
    made = with_tags(before, tags("日本"), run="one")
    assert made is not None
    assert "日本" in made.decode(mark)
    assert without_run(made, run="one") == before


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
OUTSIDE = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
TEXT = "has dc:subject as plain text"
NO_LIST = "has a dc:subject that is no list"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\0", "well-formed"),
        (b"hello", "well-formed"),
        (LIGHTROOM[:-20].encode(), "well-formed"),
        (LIGHTROOM.replace("Anna", "&b;").encode(), "well-formed"),
        (LIGHTROOM.replace("Anna", "\x01").encode(), "well-formed"),
        ((BOMB + LIGHTROOM.replace("Anna", "&b;")).encode(), "document type"),
        ((OUTSIDE + LIGHTROOM.replace("Anna", "&a;")).encode(), "document type"),
        (b"<!DOCTYPE x SYSTEM 'http://example.com/x.dtd'>" + LIGHTROOM.encode(), "document type"),
        (b"<svg/>", "no rdf:RDF"),
        (f'<?xml version="1.0" encoding="latin-1"?>{LIGHTROOM}'.encode(), "encoding 'latin-1'"),
        (b"\xff\xfe" + b"<\0x", "UTF-16"),
        (b" " * (MAX_BYTES + 1), "larger than 8 MiB"),
        (b"<x>" * (MAX_DEPTH + 1), "too deep"),
        (b"<x>" + b"<y/>" * 200_001, "too many elements"),
        (with_subject("", inside='dc:subject="dog"').encode(), TEXT),
        (with_subject("<dc:subject>dog</dc:subject>").encode(), NO_LIST),
        (with_subject('<dc:subject rdf:parseType="Literal"/>').encode(), NO_LIST),
        (with_subject("<dc:subject><rdf:Bag/><rdf:Bag/></dc:subject>").encode(), NO_LIST),
    ],
    ids=range(18),
)
def test_what_is_no_safe_sidecar_is_left_alone(data: bytes, said: str) -> None:
    with pytest.raises(SetAsideError, match=said):
        with_tags(data, tags("dog"), run="one")


@pytest.mark.parametrize("program", ["lightroom", "empty", "other prefixes"])
def test_hostile_names_read_back_as_they_are_but_for_what_xml_cannot_hold(program: str) -> None:
    wanted = list({same_as(k): k for k in map(keyword_of, names()) if k}.values())
    made = written(*wanted, before=ALL[program])
    assert set(wanted) <= set(listed(made))
    paths = [path_of(k, under="", separator="|") for k in wanted if k not in ("dog", "Anna")]
    assert set(paths) <= set(listed(made, HIERARCHY))
    after = without_run(made, run="one")
    assert listed(after) == [each for each in listed(ALL[program].encode()) if each]


WORDS = st.sampled_from(["Anna", "dog", "cat", "cow", "a|b", "a/b", "<&>", "é"])


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([None, *(ALL[name] for name in RESTORED)]),
    st.lists(
        st.tuples(st.sampled_from("ab"), st.lists(WORDS, unique=True), st.sampled_from(["", "AI"])),
        max_size=6,
    ),
)
def test_whatever_was_exported_the_sidecar_is_the_same_bytes_once_all_is_taken_back(
    before: str | None, exports: list[tuple[str, list[str], str]]
) -> None:
    start = data = None if before is None else before.encode()
    last: dict[str, list[str]] = {}
    for run, words, under in exports:
        data = with_tags(data, tags(*words), run=run, under=under)
        last[run] = words
        wanted = {word for each in last.values() for word in each}
        if data is not None:
            there = set(listed(data))
            assert wanted <= there
            assert there - wanted <= {"Anna", "dog"}
    for run in "ba":
        if data is not None:
            data = without_run(data, run=run)
    assert data == start


def test_an_empty_list_is_filled_with_the_documents_own_prefix() -> None:
    assert b"<Bag><li>dog</li></Bag>" in written("dog", before=OTHER_PREFIX)
