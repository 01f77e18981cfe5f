"""Pure decisions about messages: numbers that can be dialled, texts, segments."""
