"""From image vectors to tags: the ladder of scores, the scoring job and its page."""
