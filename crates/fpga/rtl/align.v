// Eight mantissas with a common exponent to words in units of 2^(top - GUARD), where top is at least that exponent; halves
// rounded up. Three registers deep.
module align #(
    parameter BITS = 17,
    parameter GUARD = 6
) (
    input clk,
    input en,
    input [8*BITS-1:0] x,
    input signed [7:0] exponent,
    input signed [7:0] top,
    output reg [8*(BITS+GUARD)-1:0] y
);
    localparam W = BITS + GUARD;
    wire [8:0] difference = {top[7], top} - {exponent[7], exponent};
    reg [4:0] shift;
    reg [8*BITS-1:0] x1;
    always @(posedge clk)
        if (en) begin
            shift <= difference > 31 ? 5'd31 : difference[4:0];
            x1 <= x;
        end
    genvar k;
    generate
        for (k = 0; k < 8; k = k + 1) begin : number
            wire signed [W:0] wide = {x1[k*BITS+:BITS], {GUARD + 1{1'b0}}};
            reg signed [W:0] fine;
            always @(posedge clk)
                if (en) begin
                    fine <= wide >>> shift;
                    y[k*W+:W] <= fine[W:1] + fine[0];
                end
        end
    endgenerate
endmodule
