// Up to four jobs under way: their shapes, and the numbers that follow from one. Three stages of a core are each at a job of
// their own, and the last lets it go. A shape beyond the limits, or with more words than the column buffer has, is taken and
// dropped, and `refused` says so for a cycle.
module jobs #(
    parameter DECODE = 0,
    parameter DEPTH = 98945  // words of either bank of the column buffer
) (
    input clk,
    input rst,
    input cfg_valid,
    output cfg_ready,
    input [9:0] cfg_tokens,  // S, 1 to 512
    input [1:0] cfg_shape,  // D: 192, 1536, 2048 or 3072
    input [9:0] cfg_ks,  // 1 to S
    input [11:0] cfg_kd,  // 1 to D
    output reg refused,
    input a_pop,
    input b_pop,
    input c_pop,
    output a_valid,
    output b_valid,
    output c_valid,
    output [1:0] a_at,
    output [1:0] b_at,
    output [1:0] c_at,
    output [82:0] a,
    output [82:0] b,
    output [82:0] c
);
    reg [82:0] ring[0:3];
    reg [2:0] head, a_next, b_next, c_next;
    assign {a_at, b_at, c_at} = {a_next[1:0], b_next[1:0], c_next[1:0]};
    assign {a_valid, b_valid, c_valid} = {a_next != head, b_next != head, c_next != head};
    assign {a, b, c} = {ring[a_at], ring[b_at], ring[c_at]};

    function [11:0] hidden_of(input [1:0] of);
        hidden_of = of == 0 ? 12'd192 : of == 1 ? 12'd1536 : of == 2 ? 12'd2048 : 12'd3072;
    endfunction

    // Three steps: limits, counts, words of the buffer.
    reg step1, step2, step3;
    reg [9:0] tokens, ks, rows;
    reg [1:0] shape;
    reg [11:0] kd;
    reg [8:0] tiles;
    wire [11:0] hidden = hidden_of(shape);
    wire [11:0] columns = kd <= hidden[11:1] ? kd : hidden[11:1] + 1'b1;
    wire [11:0] columns_up = columns + 12'd3;
    wire [9:0] middle = tokens >> 1;
    wire bad = tokens == 0 | tokens > 512 | ks == 0 | ks > tokens | kd == 0 | kd > hidden;
    reg [17:0] words;
    wire [2:0] fill = head - c_next;
    assign cfg_ready = !step1 & !step2 & !step3 & !fill[2];

    always @(posedge clk) begin
        step1 <= cfg_valid & cfg_ready;
        if (cfg_valid & cfg_ready) {tokens, shape, ks, kd} <= {cfg_tokens, cfg_shape, cfg_ks, cfg_kd};
        step2 <= step1 & !bad;
        refused <= step1 & bad | step3 & words > DEPTH;
        tiles <= columns_up[10:2];
        rows <= ks <= middle ? ks : middle + 1'b1;
        step3 <= step2;
        words <= DECODE ? tokens * ((tiles + 10'd1) >> 1) : (middle + 1'b1) * tiles;
        if (step3 & words <= DEPTH) begin
            ring[head[1:0]] <= {tokens, shape, ks, kd, hidden, tiles, rows, words};
            head <= head + 1'b1;
        end
        if (a_pop) a_next <= a_next + 1'b1;
        if (b_pop) b_next <= b_next + 1'b1;
        if (c_pop) c_next <= c_next + 1'b1;
        if (rst) {step1, step2, step3, refused, head, a_next, b_next, c_next} <= 0;
    end
endmodule
