"""Where a radar is and how late its stamps are, from a person who walks before it and before cameras."""
