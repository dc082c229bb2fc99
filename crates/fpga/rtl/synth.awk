# Sums the cells that Yosys counted for a core, and the shares of an XCZU15EG that they take.
BEGIN {
    split("LUT FF DSP BRAM36 URAM", kinds)
    split("341280 682560 3528 744 112", budget)
    # Look-up tables of a distributed memory or a shift register.
    split("RAM32X1S 1 RAM64X1S 1 RAM32X1D 2 RAM64X1D 2 RAM128X1S 2 RAM128X1D 4 RAM256X1S 4 RAM256X1D 8 RAM512X1S 8 RAM32M 4 " \
          "RAM64M 4 RAM32M16 8 RAM64M8 8 RAM32X16DR8 8 RAM64X8SW 8 SRL16E 1 SRLC32E 1", tables)
    for (i = 1; i in tables; i += 2) table[tables[i]] = tables[i + 1]
    printf "%-12s", "core"
    for (i = 1; i <= 5; i++) printf "%18s", kinds[i]
    printf "\n"
}
# The last block of a file is that of the whole hierarchy.
FNR == 1 { if (NR > 1) print_core() }
/^=== / || /Number of cells:/ { delete sum }
FNR == 1 { n = split(FILENAME, path, "/"); name = path[n]; sub(/\.txt$/, "", name) }
NF == 2 && $2 ~ /^[0-9]+$/ {
    if ($1 ~ /^LUT[1-6]$/ || $1 == "INV") sum["LUT"] += $2
    else if ($1 in table) sum["LUT"] += $2 * table[$1]
    else if ($1 ~ /^FD[RSCP]E$/) sum["FF"] += $2
    else if ($1 ~ /^DSP48/) sum["DSP"] += $2
    else if ($1 ~ /^RAMB36/) sum["BRAM36"] += $2
    else if ($1 ~ /^RAMB18/) sum["BRAM36"] += $2 / 2
    else if ($1 ~ /^URAM288/) sum["URAM"] += $2
}
END { print_core() }
function print_core() {
    printf "%-12s", name
    for (i = 1; i <= 5; i++) printf "%18s", sprintf("%g (%.1f %%)", sum[kinds[i]], 100 * sum[kinds[i]] / budget[i])
    printf "\n"
}
