// Four rows of D complex numbers: one comes in by eights of frequencies v, v + D / 8, .. in any order of v, another goes out
// by eights of neighbours, and with the others neither waits. Eight banks, and number i of a row stands in bank
// i + floor(8 i / D) modulo 8: both ways there is one of each bank.
module row_buffer #(
    parameter W = 54
) (
    input clk,
    input rst,
    // A row of D / 8 writes.
    input write,
    output ready,
    input [1:0] in_shape,
    input [8:0] frequency,
    input [8*W-1:0] x,
    // The first `beats` eights of it.
    input [1:0] shape,
    input [8:0] beats,
    output taken,  // the row's last eight is on its way; shape and beats are of the next row from the next cycle on
    output reg valid,
    output reg last,
    output reg [8*W-1:0] y,
    input en
);
    function [5:0] eighth(input [1:0] of);  // D / 64
        eighth = of == 0 ? 6'd3 : of == 1 ? 6'd24 : of == 2 ? 6'd32 : 6'd48;
    endfunction

    reg [3:0] full;
    reg [1:0] into, out;
    reg [8:0] written, number;
    reg [5:0] step;  // within an eighth of the row
    reg [2:0] turn;
    assign ready = !full[into];
    wire [5:0] in_eighth = eighth(in_shape), out_eighth = eighth(shape);
    wire row_written = write & ready & written == {in_eighth, 3'b0} - 1'b1;
    wire read = full[out] & en;
    assign taken = read & number == beats - 1'b1;

    // Bank b gets number r = b - v of the eight, at v / 8 + r D / 64.
    reg write1, valid1, last1, row_written1;
    reg [1:0] into1;
    reg [9*8-1:0] to;
    reg [8*W-1:0] x1;
    wire [8*W-1:0] words;
    genvar b;
    generate
        for (b = 0; b < 8; b = b + 1) begin : bank
            wire [2:0] r = b - frequency[2:0];
            always @(posedge clk) begin
                to[9*b+:9] <= frequency[8:3] + r * in_eighth;
                x1[b*W+:W] <= x[r*W+:W];
            end
            reg [W-1:0] memory[0:2047];
            reg [W-1:0] word;
            always @(posedge clk) if (write1) memory[{into1, to[9*b+:9]}] <= x1[b*W+:W];
            always @(posedge clk) if (en) word <= memory[{out, number}];
            assign words[b*W+:W] = word;
        end
    endgenerate

    reg [2:0] turn1;
    integer i;
    always @(posedge clk) begin
        write1 <= write & ready;
        into1 <= into;
        if (write & ready) written <= row_written ? 9'd0 : written + 1'b1;
        if (row_written) into <= into + 1'b1;
        // A write is a cycle late: the row counts as full when it is in.
        full <= (full | (row_written1 ? 4'b1 << into1 : 4'b0)) & ~(taken ? 4'b1 << out : 4'b0);
        if (taken) out <= out + 1'b1;
        if (read) begin
            number <= taken ? 9'd0 : number + 1'b1;
            step <= taken | step == out_eighth - 1'b1 ? 6'd0 : step + 1'b1;
            turn <= taken ? 3'd0 : step == out_eighth - 1'b1 ? turn + 1'b1 : turn;
        end
        if (en) begin
            {valid1, last1, turn1} <= {read, taken, turn};
            {valid, last} <= {valid1, last1};
            for (i = 0; i < 8; i = i + 1) y[i*W+:W] <= words[((i + turn1) & 7)*W+:W];
        end
        if (rst) begin
            {full, into, out, written, number, step, turn, valid1, valid, row_written1, write1} <= 0;
        end else row_written1 <= row_written;
    end
endmodule
