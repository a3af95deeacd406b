"""Tags of images: in memory, in frames, in files and in files that are being written."""
