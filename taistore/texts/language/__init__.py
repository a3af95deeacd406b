"""Label names as English words: phrases made from them, and found in captions."""
