"""Colors of classes, in charts and on images."""

# By farthest points in CIELAB between lightness 42 and 70: any two are 18 apart or more by
# CIEDE2000, and each as far from white and from a dark page.
CLASS_COLORS = (
    *("#0078b4", "#d25a00", "#3cc300", "#ff00e1", "#5a694b", "#b4a5a5", "#d2a500", "#00b4b4"),
    *("#c31e4b", "#785a96", "#a596ff", "#ff7878", "#96a587", "#876900", "#3cb4ff", "#786969"),
    *("#007878", "#00965a", "#b47896", "#2d4bff"),
)
