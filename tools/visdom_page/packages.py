"""Files that visdom's page loads but its package lacks, and the npm packages that hold them."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Package:
    """An npm package and the files that the page loads from it.

    Attributes:
        name: name and version, as npm takes them.
        sha256: of the archive.
        files: path below ``static`` by path in the package.
    """

    name: str
    sha256: str
    files: Mapping[str, str]

    @property
    def archive(self) -> str:
        """The file that ``npm pack`` writes."""
        return f"{self.name.replace('@', '-')}.tgz"


# Names on the left are the packages', names on the right those of visdom/server/build.py.
_FONT = "fonts/glyphicons-halflings-regular"
_SAME_IN_BOTH = (
    Package(
        "jquery@3.1.1",
        "1edfdafd71f26e2730a2029f5c4971598f55f57627fd17c3410914aed2293821",
        {"dist/jquery.min.js": "js/jquery.min.js"},
    ),
    Package(
        "bootstrap@3.3.7",
        "a9de9f9d74b46743821bda60e5f81233c7a2dc83ad4db60d0c0e396dc255fc2a",
        {
            "dist/js/bootstrap.min.js": "js/bootstrap.min.js",
            "dist/css/bootstrap.min.css": "css/bootstrap.min.css",
            **{f"dist/{_FONT}.{kind}": f"{_FONT}.{kind}" for kind in ("eot", "woff2", "woff")},
            f"dist/{_FONT}.ttf": f"{_FONT}.ttf",
            f"dist/{_FONT}.svg": f"{_FONT}.svg#glyphicons_halflingsregular",
        },
    ),
    Package(
        "react@16.2.0",
        "c0d1fc3e4157e03898012d3bd6360879a58f1178ab839859a15433aa60ed5499",
        {"umd/react.production.min.js": "js/react-react.min.js"},
    ),
    Package(
        "react-dom@16.2.0",
        "6596694ba625de26e265c4ae5b7a5f568022568573a05bbdb2659792bcc101b6",
        {"umd/react-dom.production.min.js": "js/react-dom.min.js"},
    ),
    Package(
        "react-modal@3.1.10",
        "d656a396f68e2a9b2329087840ea005e5da0408410dd8064e1c30ffeaa9d5133",
        {"dist/react-modal.min.js": "js/react-modal.min.js"},
    ),
    Package(
        "plotly.js-dist-min@2.11.1",
        "25f1ca783c4e71e01c96031fc85ab114aebf931ba563d250d1ec59421cb79113",
        {"plotly.min.js": "js/plotly-plotly.min.js"},
    ),
    Package(
        "sjcl@1.0.7",
        "9fe881f59d05151dd4e38e4eca65821e773f1f8a7eb01f6fdb819008b0ce544e",
        {"sjcl.js": "js/sjcl.js"},
    ),
    Package(
        "layout-bin-packer@1.4.0",
        "f5d72447b16e3a912c5001bbda3b7308dfc48749882c8ff4ce8fc0c265176f7a",
        {
            "dist/layout-bin-packer.js": "js/layout_bin_packer.js",
            "dist/layout-bin-packer.js.map": "js/layout-bin-packer.js.map",
        },
    ),
    Package(
        "d3@3.5.17",
        "da49ebf01f88a039c748eb4aa682fec45672f7c2abca3b363633b8f835065b35",
        {"d3.min.js": "js/d3.v3.min.js"},
    ),
    Package(
        "d3-selection-multi@1.0.1",
        "449fab3b22583c83882bb326857c0be04321cd087162ec1bfe872214bd0b9827",
        {"build/d3-selection-multi.js": "js/d3-selection-multi.v1.js"},
    ),
    Package(
        "save-svg-as-png@1.4.17",
        "639bdcaeb3e945de6282670b88a5d058605431aca7d6890661227c6f7cc3f55a",
        {"lib/saveSvgAsPng.js": "js/saveSvgAsPng.js"},
    ),
    Package(
        "classnames@2.2.5",
        "38c83d48c787e08af4e79e591bb4e3b519e84c492507b16d593a98f576ea8959",
        {"index.js": "fonts/classnames"},
    ),
)
_RESIZABLE = {"css/styles.css": "css/react-resizable-styles.css"}
_GRID = {"css/styles.css": "css/react-grid-layout-styles.css"}
_MATHJAX_2 = (
    "MathJax.js",
    "config/Safe.js",
    "config/TeX-AMS-MML_HTMLorMML.js",
    "extensions/Safe.js",
    "jax/output/SVG/config.js",
    "jax/output/SVG/jax.js",
    "jax/output/SVG/fonts/TeX/fontdata.js",
    "jax/output/SVG/fonts/TeX/Size1/Regular/Main.js",
)
PACKAGES = {
    "0.2.4": (
        *_SAME_IN_BOTH,
        Package(
            "react-resizable@1.4.6",
            "8855b10f7961dfce72bb032575769b40581a61aa716d0f5d426c4d5e184aa622",
            _RESIZABLE,
        ),
        Package(
            "react-grid-layout@0.16.3",
            "b57981208742e5be47a4aa761194103d5c0e3ddd473d7fd8989c608dd9345550",
            _GRID,
        ),
        Package(
            "mathjax@2.7.5",
            "7fc8acc02a4930cdc59983ba4003686208af39fc855245fa8ae8d4b27fab781b",
            {path: f"js/mathjax/2.7.5/{path}" for path in _MATHJAX_2},
        ),
    ),
    "0.3.0": (
        *_SAME_IN_BOTH,
        Package(
            "react-resizable@3.1.3",
            "a46a9f326f9f4581e4d64ea5e7a23295f20738bfd1dcf4027c36b9930a7309f3",
            _RESIZABLE,
        ),
        Package(
            "react-grid-layout@2.2.3",
            "1b0d0eb0cbd71e13d186f10cadf649fd490cb9290bdd4075852ccfa68cc40182",
            _GRID,
        ),
        Package(
            "mathjax@3.2.2",
            "1b9c0a1c44df864e915690558e72adb9cc5203360daefd385084ced3b6c64c09",
            {"es5/tex-mml-svg.js": "js/mathjax/3.2.2/es5/tex-mml-svg.js"},
        ),
    ),
}
