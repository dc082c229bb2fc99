// The token axis: pairs of words q and S - q, four complex columns each, become the sums over q for up to 64 frequencies p at
// once, and for their mirrors S - p. A pair a cycle comes in; a sum a cycle, of four columns, goes out.
module token_axis #(
    parameter DECODE = 0,  // the sign of the exponent: a sum over e^(+2 pi i p q / S) is the direct one
    parameter LANES = 64,
    parameter BITS = 17,
    parameter TAG = 1
) (
    input clk,
    input rst,
    // The table of the period, when no pair is under way.
    input root_valid,
    input [8:0] root_index,
    input [35:0] root,
    // Pairs.
    input valid,
    input first,
    input last,
    input [8*BITS-1:0] a,
    input signed [7:0] a_exponent,
    input [8*BITS-1:0] b,
    input signed [7:0] b_exponent,
    input signed [7:0] top,  // no exponent of the sum's words is larger
    input [9:0] tokens,
    input [9:0] p0,  // the first frequency
    input [6:0] count,  // of frequencies. Between last and last lie as many cycles as the sums before take to go out
    input [9:0] mirrors,  // from this frequency on the mirror goes out too
    input [TAG-1:0] tag,
    // Sums, over 2^(top - 6).
    output reg out_valid,
    output reg out_mirror,
    output reg out_last,  // of this count
    output reg [9:0] out_p,
    output reg [8*33-1:0] out_data,
    output reg [TAG-1:0] out_tag
);
    localparam W = BITS + 6;
    localparam META = 10 + 10 + 7 + 10 + TAG;

    wire [8*W-1:0] a3, b3;
    align #(.BITS(BITS), .GUARD(6)) align_a (.clk(clk), .en(1'b1), .x(a), .exponent(a_exponent), .top(top), .y(a3));
    align #(.BITS(BITS), .GUARD(6)) align_b (.clk(clk), .en(1'b1), .x(b), .exponent(b_exponent), .top(top), .y(b3));

    // What accompanies a pair, by the number of registers passed.
    reg [8:1] valids, firsts, lasts;
    reg [META-1:0] meta[1:8];
    integer i;
    always @(posedge clk) begin
        valids <= {valids[7:1], valid};
        firsts <= {firsts[7:1], first};
        lasts <= {lasts[7:1], last & valid};
        meta[1] <= {p0, tokens, count, mirrors, tag};
        for (i = 2; i <= 8; i = i + 1) meta[i] <= meta[i-1];
        if (rst) {valids, lasts} <= 0;
    end

    reg [8*(W+1)-1:0] even, odd;
    genvar k;
    generate
        for (k = 0; k < 8; k = k + 1) begin : fold
            wire signed [W-1:0] of_a = a3[k*W+:W], of_b = b3[k*W+:W];
            always @(posedge clk) begin
                even[k*(W+1)+:W+1] <= of_a + of_b;
                odd[k*(W+1)+:W+1] <= of_a - of_b;
            end
        end
    endgenerate

    wire [9:0] new_p0 = meta[3][META-1-:10], new_tokens = meta[3][META-11-:10];
    reg [9:0] period;
    always @(posedge clk) if (valids[3] & firsts[3]) period <= new_tokens;
    reg root_valid1;
    reg [8:0] root_index1;
    reg [35:0] root1;
    always @(posedge clk) {root_valid1, root_index1, root1} <= {root_valid, root_index, root};

    // Registers for eight lanes each, then the lanes; the sums of all are taken at once and go out one after another.
    wire load = lasts[8];
    reg shift;
    wire [511:0] chain[0:LANES];
    wire [511:0] held = chain[0];
    assign chain[LANES] = 0;
    genvar g;
    generate
        for (g = 0; g < LANES / 8; g = g + 1) begin : group
            reg [8*(W+1)-1:0] even5, odd5;
            always @(posedge clk) {even5, odd5} <= {even, odd};
            for (k = 8 * g; k < 8 * g + 8; k = k + 1) begin : lane
                token_lane #(.W(W + 1)) lane (
                    .clk(clk), .write(root_valid1), .to(root_index1), .root_in(root1), .step(valids[3]), .step_first(firsts[3]),
                    .p(new_p0 + 10'd0 + k), .tokens(period), .even(even5), .odd(odd5), .add(valids[7]), .add_first(firsts[7]),
                    .load(load), .shift(shift), .chain_in(chain[k+1]), .chain(chain[k])
                );
            end
        end
    endgenerate
    // One sum a cycle.
    reg [9:0] p, period_out, from;
    reg [6:0] left;
    reg mirror;
    reg [TAG-1:0] tag_out;
    wire sends = p != 0 & {p, 1'b0} != {1'b0, period_out} & p >= from;
    wire next_lane = mirror | !sends;
    always @* shift = left != 0 & next_lane;
    // The sum of cosines and, times -i or i, that of sines.
    wire plus = (DECODE != 0) ^ mirror;
    reg [8*33-1:0] sum;
    reg signed [31:0] c, s;
    always @*
        for (i = 0; i < 8; i = i + 1) begin
            c = held[32*i+:32];
            s = held[256+32*(i^1)+:32];
            sum[33*i+:33] = (plus ^ i[0]) ? c - s : c + s;
        end
    always @(posedge clk) begin
        out_valid <= left != 0;
        out_mirror <= mirror;
        out_last <= left == 1 & next_lane;
        out_p <= p;
        out_data <= sum;
        out_tag <= tag_out;
        if (load) begin
            {p, period_out, left, from, tag_out} <= meta[8];
            mirror <= 0;
        end else if (left != 0) begin
            mirror <= !next_lane;
            if (next_lane) begin
                left <= left - 1'b1;
                p <= p + 1'b1;
            end
        end
        if (rst) {left, out_valid} <= 0;
    end
endmodule
