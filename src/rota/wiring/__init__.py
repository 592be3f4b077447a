"""The composition: the one place that knows every concrete class and puts them together."""
