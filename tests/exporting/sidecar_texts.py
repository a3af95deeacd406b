"""Sidecars as other programs write them."""

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"

LIGHTROOM = """\
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="Adobe XMP Core 7.0-c000">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/"
    xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:lr="http://ns.adobe.com/lightroom/1.0/"
   xmp:Rating="4"
   crs:Exposure2012="+0.35">
   <dc:subject>
    <rdf:Bag>
     <rdf:li>Anna</rdf:li>
     <rdf:li>dog</rdf:li>
    </rdf:Bag>
   </dc:subject>
   <lr:hierarchicalSubject>
    <rdf:Bag>
     <rdf:li>people|Anna</rdf:li>
     <rdf:li>animals|dog</rdf:li>
    </rdf:Bag>
   </lr:hierarchicalSubject>
   <crs:ToneCurve>
    <rdf:Seq>
     <rdf:li>0, 0</rdf:li>
     <rdf:li>255, 255</rdf:li>
    </rdf:Seq>
   </crs:ToneCurve>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
"""

DIGIKAM = """\
<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="XMP Core 4.4.0-Exiv2">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <!-- kept -->
  <rdf:Description rdf:about="uuid:1"
    xmlns:digiKam="http://www.digikam.org/ns/1.0/"
    xmlns:MicrosoftPhoto="http://ns.microsoft.com/photo/1.0/"
   digiKam:PickLabel="0">
   <digiKam:TagsList>
    <rdf:Seq>
     <rdf:li>Places/Bonn</rdf:li>
    </rdf:Seq>
   </digiKam:TagsList>
   <MicrosoftPhoto:LastKeywordXMP>
    <rdf:Bag>
     <rdf:li>Places/Bonn</rdf:li>
    </rdf:Bag>
   </MicrosoftPhoto:LastKeywordXMP>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>

<?xpacket end="w"?>"""

DARKTABLE = """\
<?xml version='1.0' encoding='UTF-8'?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="XMP Core 4.4.0-Exiv2"><rdf:RDF
 xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description
 rdf:about='' xmlns:darktable='http://darktable.sf.net/' darktable:note='a &gt; "b"'
 ><darktable:history><rdf:Seq><rdf:li darktable:num="0"/></rdf:Seq></darktable:history
 ></rdf:Description ></rdf:RDF></x:xmpmeta>"""

OTHER_PREFIX = f"""\
<RDF xmlns="{RDF}" xmlns:r="{RDF}"><Description r:about=""><dc:subject
 xmlns:dc="http://purl.org/dc/elements/1.1/"><Bag/></dc:subject></Description></RDF>"""

EMPTY = f'<rdf:RDF xmlns:rdf="{RDF}"/>'

ALL = {
    "lightroom": LIGHTROOM,
    "digikam": DIGIKAM,
    "darktable": DARKTABLE,
    "other prefixes": OTHER_PREFIX,
    "empty": EMPTY,
    "windows": LIGHTROOM.replace("\n", "\r\n"),
}

RESTORED = ("lightroom", "digikam", "darktable", "windows")
"""Those that are the same bytes again after an export and its retraction."""


def with_subject(content: str, *, inside: str = "") -> str:
    """A sidecar whose description has this inside, or these attributes."""
    return (
        f'<rdf:RDF xmlns:rdf="{RDF}" xmlns:dc="http://purl.org/dc/elements/1.1/">'
        f"<rdf:Description {inside}>{content}</rdf:Description></rdf:RDF>"
    )
