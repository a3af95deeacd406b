"""taistore: tag images with every label they show, by adapters trained on text vectors.

Importing the package loads nothing heavy; import the module you need:
``taistore.store``, ``taistore.encoders``, ``taistore.adapter``, ``taistore.scoring``.
"""

__version__ = "0.1.0"
