"""Forms in which a table is shown: a page of text, a paper's table, a spreadsheet, a picture."""
