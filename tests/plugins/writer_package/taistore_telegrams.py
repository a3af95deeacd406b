"""A text writer as a package of its own: captions as short as telegrams."""

from taistore.texts.writer import WrittenText


class TelegramWriter:
    """Joins the names of the labels: "red stop blue stop no 3"."""

    name = "telegram"
    model = "telegram-1"
    instructions = ("short",)

    def __init__(self, labels):
        self._labels = labels

    def write(self, requests):
        """One answer a request."""
        for request in requests:
            names = (self._labels[i].name for i in request.label_ids)
            number = request.turn + 100 * request.attempt
            yield WrittenText(request=request, text=f"{' stop '.join(names)} stop no {number}")
