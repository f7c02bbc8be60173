"""The way to phones, tried with the real program adb against a double of a phone's daemon."""
