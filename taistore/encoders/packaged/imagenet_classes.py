"""What is said about each ImageNet-1k class: the texts whose mean vector stands for it.

Names and synonyms come from timm (WordNet's) and open_clip (OpenAI's cleaned ones), the definition
is WordNet's gloss, which tells what kind of thing a class is ("an English breed having a long silky
golden coat", "a vessel with two parallel hulls"): it is worth 4 mAP on VOC. ImageNet has no class
for people, though they fill its photos: what people wear or use also says so.
"""

from typing import NamedTuple

CLASSES = 1000


def _indices(text: str) -> frozenset[int]:
    return frozenset(map(int, text.split()))


# Class indices of things that are worn by the person in the photo.
WORN_BY_PEOPLE = _indices(
    """
    399 400 411 419 433 439 443 445 451 452 457 459 465 474 501 514 515 518 529 531 552 560
    568 570 578 584 601 608 610 614 615 617 630 638 639 643 652 655 658 667 678 679 689 697
    735 770 774 775 785 793 796 801 806 808 823 824 834 836 837 841 842 869 887 903 906
    """
)
# Class indices of things in use by a person in most photos, and the three classes of people.
USED_BY_PEOPLE = _indices(
    """
    402 416 420 429 430 432 444 486 513 522 541 546 558 566 573 574 576 593 602 641 671 683
    691 699 701 702 722 746 747 752 768 776 795 805 843 852 875 880 889 890 981 982 983
    """
)


class ClassTexts(NamedTuple):
    """Texts of one class, in groups that count alike; a group is averaged within first."""

    named: tuple[str, ...]
    defined: str
    with_person: str | None


def class_texts(index: int, *, clean_name: str, names: str, definition: str) -> ClassTexts:
    """The texts of class ``index``.

    ``clean_name`` is open_clip's name, ``names`` WordNet's synonyms joined by commas,
    ``definition`` WordNet's gloss.

    >>> texts = class_texts(
    ...     518, clean_name="crash helmet", names="crash helmet", definition="a padded helmet"
    ... )
    >>> texts.defined
    'a photo of a crash helmet, a padded helmet'
    >>> texts.with_person
    'a photo of a person wearing a crash helmet'
    """
    known = dict.fromkeys(
        name.strip().lower() for name in (clean_name, *names.split(",")) if name.strip()
    )
    thing = with_article(clean_name)
    person = None
    if index in WORN_BY_PEOPLE:
        person = f"a photo of a person wearing {thing}"
    elif index in USED_BY_PEOPLE:
        person = f"a photo of a person with {thing}"
    return ClassTexts(
        named=tuple(f"a photo of {with_article(name)}" for name in known),
        defined=f"a photo of {thing}, {definition}",
        with_person=person,
    )


def with_article(name: str) -> str:
    """``name`` with "a" or "an", chosen by its first letter.

    >>> with_article("airliner")
    'an airliner'
    """
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"
