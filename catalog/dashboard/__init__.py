"""The morning page: what happened, how fast, how good, what is wrong. It asks the views of catalog/views alone.

panels.py asks, live.py adds how far the runs at work are, page.py makes one HTML file of the answers, server.py serves
it and keeps it fresh. The drawing is in page.js (what is on the page), charts.js and tables.js; vendor/ holds the
libraries that it draws with.
"""
