"""What the reports' HTML pages share: the page itself, its style, its charts, its pictures, the section on domains."""
