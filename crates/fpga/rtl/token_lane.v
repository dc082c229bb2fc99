// One frequency of the token axis: sums of eight even parts times cosines and of eight odd parts times sines, each pair of
// words in one cycle. It has the roots of the period in a table of its own and steps through it.
module token_lane #(
    parameter W = 24
) (
    input clk,
    input write,  // to the table
    input [8:0] to,
    input [35:0] root_in,
    input step,  // a pair of words has come; its numbers follow two cycles later
    input step_first,  // and it is the first of a sum
    input [9:0] p,  // the frequency, with the first
    input [9:0] tokens,  // the period, with and after the first
    input [8*W-1:0] even,
    input [8*W-1:0] odd,
    input add,  // four cycles after step
    input add_first,
    input load,  // the sums are done: they are taken into a chain
    input shift,  // which goes from lane to lane
    input [16*32-1:0] chain_in,
    output [16*32-1:0] chain  // sums of cosines, then of sines
);
    /* verilator no_inline_module */
    reg [35:0] roots[0:511];
    reg [35:0] read;
    reg [9:0] at, stride;
    wire [10:0] next = at + stride;
    always @(posedge clk) begin
        if (write) roots[to] <= root_in;
        if (step) at <= step_first ? 10'd0 : next >= {1'b0, tokens} ? next - tokens : next;
        if (step & step_first) stride <= p;
        read <= roots[at[8:0]];
    end

    genvar i;
    generate
        for (i = 0; i < 8; i = i + 1) begin : number
            multiply_add #(.W(W)) cosine (
                .clk(clk), .x(even[i*W+:W]), .root(read[35:18]), .add(add), .first(add_first), .load(load),
                .shift(shift), .chain_in(chain_in[32*i+:32]), .chain(chain[32*i+:32])
            );
            multiply_add #(.W(W)) sine (
                .clk(clk), .x(odd[i*W+:W]), .root(read[17:0]), .add(add), .first(add_first), .load(load),
                .shift(shift), .chain_in(chain_in[256+32*i+:32]), .chain(chain[256+32*i+:32])
            );
        end
    endgenerate
endmodule
