"""HTML that runs nothing."""

import html

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a; }
table { border-collapse: collapse; width: 100%; margin: 1rem 0; }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem; border-bottom: 1px solid #ccc; }
td.n, th.n { text-align: right; white-space: nowrap; }
pre { background: #f4f4f4; padding: .6rem; overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere; }
td, .lines { white-space: pre-line; }
.bar { background: #0072b2; height: 1rem; display: inline-block; vertical-align: middle; }
body:has(.two) { max-width: 84rem; }
.two { table-layout: fixed; }
.two pre { font-size: 12px; }
mark { background: #fdf3ec; box-shadow: -.3rem 0 #d55e00; }
.reason { border-left: .3rem solid #d55e00; padding: .3rem .8rem; background: #fdf3ec; }
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def escape(value):
    """A text as HTML shows it, without what no page can show."""
    text = str(value)
    return html.escape("".join(c for c in text if c in "\n\t" or (c.isprintable() and not 0xD800 <= ord(c) <= 0xDFFF)))


def page(title, *parts):
    """A page that runs nothing and needs no other file."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>\n<h1>{escape(title)}</h1>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def table(heads, rows):
    """Rows of cells that are escaped here; a head that starts with # is a column of numbers."""
    kinds = [' class="n"' if head.startswith("#") else "" for head in heads]
    top = "".join(f"<th{kind}>{escape(head.lstrip('#'))}</th>" for kind, head in zip(kinds, heads, strict=True))
    body = "\n".join(
        "<tr>" + "".join(f"<td{kind}>{escape(value)}</td>" for kind, value in zip(kinds, row, strict=True)) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{top}</tr></thead><tbody>\n{body}\n</tbody></table>"
