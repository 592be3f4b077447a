"""The HTTP edge: parse a request, call one method of the service, render what it says."""
