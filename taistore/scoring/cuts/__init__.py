"""Which of an image's ranked labels become its tags: by labelled images, or on average."""
