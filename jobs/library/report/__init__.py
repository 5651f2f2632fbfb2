"""The report of a site: groups of its pages, their names, and the file that holds it all."""
