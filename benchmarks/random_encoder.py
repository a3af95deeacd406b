"""An encoder that exists in name only, for stores of random vectors of 1,024 dimensions."""

from taistore.encoders.protocol import EncoderInfo

ENCODER = EncoderInfo(
    encoder_id="random",
    spec="random",
    library="benchmark",
    model="random",
    weights="none",
    weights_digest="0",
    resolution=224,
    resize="squash",
    dim=1024,
    context_length=77,
)
