"""The speech model: its protocol, its CTranslate2 form, and the calls that a batch makes."""
