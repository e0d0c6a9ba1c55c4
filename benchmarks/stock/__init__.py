"""What the stock converters make of a checkpoint's float network; each in its own environment."""
