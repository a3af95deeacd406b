"""Where photos and their labels come from: folders, manifests, published data sets."""
